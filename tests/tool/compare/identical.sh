# Without this equal disks could be told apart, or the texts change.
. "$TOOLS/functions.sh"
make_overlay
qemu-img convert -O qcow2 -c o.qcow2 c.qcow2
byre compare o.qcow2 c.qcow2
byre compare -f qcow2 -F qcow2 o.qcow2 c.qcow2
byre compare -q o.qcow2 c.qcow2
qemu-img convert -O raw o.qcow2 o.raw
byre compare --a-format=qcow2 --b-format raw o.qcow2 o.raw
as_qemu_img compare o.qcow2 o.raw
byre compare --image-opts driver=qcow2,file.filename=o.qcow2 driver=raw,file.filename=o.raw
