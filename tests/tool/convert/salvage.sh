# Without this --salvage could stop at a bad range, or be silent about it.
. "$TOOLS/functions.sh"
make_data 256
qemu-img convert -c -O qcow2 d.raw c.qcow2
spoil c.qcow2
"$BYRE" convert --salvage c.qcow2 a.raw 2>message
echo $?
sed 's/\(not be read: \).*/\1.../' message
dd if=/dev/zero of=d.raw bs=64k seek=1 count=1 conv=notrunc status=none
cmp a.raw d.raw && echo the rest is there
"$BYRE" convert -q --salvage c.qcow2 b.raw && cmp a.raw b.raw
