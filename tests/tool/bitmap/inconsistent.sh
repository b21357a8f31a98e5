# Without this a bitmap that a crash left behind could be believed, or be lost
# without a word, or nobody could get rid of it.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 10M
byre bitmap --add a b0
byre bitmap --add a b1
"$BYRE" io -c 'write -q 0 64k' -c flush -c abort a >/dev/null 2>&1
byre bitmap --list a
byre bitmap --list --output=json a b1
for action in --clear --enable --disable '--merge b1'; do
    byre bitmap $action a b0
done
byre bitmap --add a b0
byre resize a 20M
byre bitmap --add a b2
byre bitmap --merge b1 a b2
byre convert --bitmaps -O qcow2 a t
left t
byre convert --bitmaps --skip-broken-bitmaps -O qcow2 a t
byre bitmap --list t
byre bitmap --remove a b0
byre bitmap --remove a b1
byre bitmap --list a
byre resize a 20M
qemu-img check -q -r leaks a >/dev/null
qemu-img check -q a || echo "(check $?)"
