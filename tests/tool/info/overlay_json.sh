# Without this the JSON form of info could drift away from QEMU 11's: its keys,
# their order, the lines of empty lists and objects.
. "$TOOLS/functions.sh"
make_overlay
qemu-img snapshot -c first o.qcow2
byre info --output=json o.qcow2 | mask_info
