# Without this damage could go to the wrong stream, or out with the wrong code.
. "$TOOLS/functions.sh"

# The same with what is on stderr shown apart.
apart() {
    echo "\$ byre $*"
    "$BYRE" "$@" 2>stderr
    echo "(exit $?)"
    sed 's/^/stderr: /' stderr
}

make_data 256
truncate -s 1M d.qcow2
cp d.qcow2 leaks.qcow2
poke leaks.qcow2 $((0x20000 + 2 * 12)) '\000\001\000\002'
apart check leaks.qcow2
apart check -q leaks.qcow2
apart check --output=json leaks.qcow2
apart check --output=json --findings leaks.qcow2
cp leaks.qcow2 both.qcow2
poke both.qcow2 $((0x20000 + 2 * 6)) '\000\000'
apart check both.qcow2
apart check --output=json --findings both.qcow2
cmp leaks.qcow2 d.qcow2 | cut -d, -f1
