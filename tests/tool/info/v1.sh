# Without this images of version 1 could be shown with what they do not have.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow a.qcow 1M
byre info a.qcow | mask_info
byre info --output=json a.qcow | mask_info
