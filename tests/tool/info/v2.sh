# Without this images of version 2 could be shown with keys of version 3.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o compat=0.10 a.qcow2 1000000
byre info a.qcow2 | mask_info
byre info --output=json a.qcow2 | mask_info
