# Without this a repair could say something else than it did, or leave the code of
# what was there before.
. "$TOOLS/functions.sh"
make_data 256
truncate -s 1M d.qcow2
poke d.qcow2 $((0x20000 + 2 * 12)) '\000\001\000\002'
cp d.qcow2 leaks.qcow2
byre check -r leaks leaks.qcow2
byre check leaks.qcow2
byre check -r leaks leaks.qcow2
cp d.qcow2 leaks.qcow2
byre check --repair=leaks --output=json --findings leaks.qcow2
poke d.qcow2 $((0x20000 + 2 * 6)) '\000\000'
cp d.qcow2 both.qcow2
byre check -r leaks both.qcow2
cp d.qcow2 both.qcow2
byre check -r all both.qcow2
byre check both.qcow2
qemu-img check both.qcow2
byre compare d.raw both.qcow2
cp d.qcow2 both.qcow2
byre check -q -r all both.qcow2 2>/dev/null
byre check --output=json both.qcow2
