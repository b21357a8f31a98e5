# Without this the human form of info could drift away from QEMU 11's.
. "$TOOLS/functions.sh"
make_overlay
qemu-img snapshot -c first o.qcow2
byre info o.qcow2 | mask_info
