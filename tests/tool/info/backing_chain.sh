# Without this a chain could be described out of order, or not as QEMU does.
. "$TOOLS/functions.sh"
mkdir sub
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow -b base.raw -F raw middle.qcow
qemu-img create -q -f qcow2 -b ../middle.qcow -F qcow sub/top.qcow2
byre info --backing-chain --probe-backing sub/top.qcow2 | mask_info
byre info --backing-chain --probe-backing --output=json sub/top.qcow2 | mask_info
byre info --output=json sub/top.qcow2 --backing-chain --probe-backing |
    sed -n 1p
qemu-img create -q -f qcow2 -b base.raw -F raw flat.qcow2
byre info --backing-chain flat.qcow2 | grep image
byre info --backing-chain --output=json base.raw | mask_info
