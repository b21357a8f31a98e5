# Without this what callers read of an image that is well could change: these are
# the outputs recorded of QEMU 11.
. "$TOOLS/functions.sh"
make_overlay
qemu-img snapshot -c first o.qcow2
as_qemu_img check o.qcow2
as_qemu_img check --output=json o.qcow2
as_qemu_img check --output json -f qcow2 -T none -U o.qcow2 | head -n 3
byre check -q o.qcow2
byre check --output=json -q o.qcow2
qemu-img create -q -f qcow2 empty.qcow2 0
byre check empty.qcow2
byre check --output=json --findings empty.qcow2
