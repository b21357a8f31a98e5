# Without this an image with damaged bitmaps could be written while nobody keeps
# them, or could never be written again.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 10M
qemu-img bitmap --add a b0
offset=$(LC_ALL=C grep -obUaP '\x00\x00\x00\x02\x01\x10\x00\x02' a | sed 's/:.*//')
# Flags that nobody knows.
poke a "$offset" '\000\000\000\012'
byre bitmap --list a
byre bitmap --add a b1
byre io -c 'write -q 0 64k' a
byre io -r -c 'read -q -P 0 0 64k' a
byre bitmap --remove-all a
byre bitmap --list a
byre io -c 'write -q 0 64k' a
qemu-img check -q -r leaks a >/dev/null
qemu-img check -q a || echo "(check $?)"
