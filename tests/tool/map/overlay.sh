# Without this the forms of map could drift away from QEMU 11's.
. "$TOOLS/functions.sh"
make_overlay
byre map o.qcow2
byre map --output=json o.qcow2
