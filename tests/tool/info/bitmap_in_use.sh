# Without this the flags of bitmaps could be shown wrong.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add -g 32k a.qcow2 b0
qemu-img bitmap --add --disable a.qcow2 'b 1'
byre info a.qcow2 | sed -n '/bitmaps/,/refcount/p'
byre info --output=json a.qcow2 | sed -n '/bitmaps/,/refcount/p'
