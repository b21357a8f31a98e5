# Without this byre could guess the format of a file that a guest wrote, or
# refuse as qemu-img what is common there.
. "$TOOLS/functions.sh"
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw o.qcow2
forget_backing_format o.qcow2
byre info o.qcow2 | grep backing
byre info --backing-chain o.qcow2
byre info --backing-chain --probe-backing o.qcow2 | grep -E 'image|format:'
as_qemu_img info --backing-chain o.qcow2 | grep -E 'image|format:'
