# Without this the target could get another format than was asked, or one that
# cannot be written be promised.
. "$TOOLS/functions.sh"
make_data 64
byre convert d.qcow2 a.raw && cmp a.raw d.raw
for format in qcow2 qcow raw; do
    byre convert -O $format d.qcow2 a
    qemu-img info a | grep ^file
done
byre convert -O vmdk d.qcow2 b
left b
