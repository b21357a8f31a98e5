# Without this `info --limits` could fail for those who ask for what they align to.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 1M
byre info --limits a.qcow2 | mask_info
byre info --limits --output=json a.qcow2 | grep -A8 '"limits"'
