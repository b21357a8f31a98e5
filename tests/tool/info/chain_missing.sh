# Without this a chain with a hole could be described in part, as if it were
# whole.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -u -b gone.raw -F raw o.qcow2 1M
byre info --backing-chain o.qcow2
byre info --backing-chain --output=json o.qcow2
byre info o.qcow2 | grep backing
