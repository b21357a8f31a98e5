# Without this a difference could be missed, or its sector told wrong.
. "$TOOLS/functions.sh"
make_overlay
qemu-img convert -O qcow2 o.qcow2 c.qcow2
qemu-io -c 'write -P 9 70000 512' c.qcow2 >/dev/null
byre compare o.qcow2 c.qcow2
byre compare c.qcow2 o.qcow2
byre compare -q o.qcow2 c.qcow2
qemu-io -c 'write -P 9 0 512' c.qcow2 >/dev/null
byre compare o.qcow2 c.qcow2
