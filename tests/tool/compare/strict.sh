# Without this -s could pass over a difference in what is allocated.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 b.qcow2 1M
byre compare -s a.qcow2 b.qcow2
qemu-io -c 'write -P 0 128k 64k' b.qcow2 >/dev/null
byre compare a.qcow2 b.qcow2
byre compare -s a.qcow2 b.qcow2
byre compare --strict -q a.qcow2 b.qcow2
