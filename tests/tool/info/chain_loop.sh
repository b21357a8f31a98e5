# Without this two images that stand on each other would be followed for ever.
. "$TOOLS/functions.sh"
mkdir sub
qemu-img create -q -f qcow2 -u -b l2.qcow2 -F qcow2 l1.qcow2 1M
qemu-img create -q -f qcow2 -u -b l1.qcow2 -F qcow2 l2.qcow2 1M
qemu-img create -q -f qcow2 -u -b sub/../self.qcow2 -F qcow2 self.qcow2 1M
byre info --backing-chain l1.qcow2
byre info --backing-chain --output=json self.qcow2
byre info l1.qcow2 | grep backing
