# Without this an incremental backup could miss a change, or copy what has not
# changed.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 10M
qemu-io -c 'write -q -P 1 0 8M' a
byre convert -O qcow2 a full
qemu-img bitmap --add a b0
qemu-io -d unmap -c 'write -q -P 2 1M 1k' -c 'write -q -z 2M 64k' \
    -c 'discard -q 3M 128k' -c 'write -q -P 5 9M 512' a
byre convert --bitmap b0 -O qcow2 -b full -F qcow2 a inc
qemu-img compare a inc
byre map inc
byre convert -c --bitmap b0 -O qcow2 -b full -F qcow2 a packed
qemu-img compare a packed
qemu-img create -q -f qcow2 -b full -F qcow2 there
byre convert -n --bitmap b0 -O qcow2 a there
qemu-img compare a there
byre convert --bitmap nosuch -O qcow2 -b full -F qcow2 a t
byre convert --bitmap b0 -O qcow2 a t
byre convert --bitmap b0 -O qcow2 -b full -F qcow2 a a t
byre convert -n --target-is-zero --bitmap b0 -O qcow2 a there
byre convert --bitmap b0 -O qcow2 -b full -F qcow2 -f raw full t
left t
