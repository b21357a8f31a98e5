# Without this a size could be read as another one than qemu-img reads.
. "$TOOLS/functions.sh"
for size in 0 1 123b 1B 64k 1K 1.5k 2m 1.5G 0x1000 +1M 5242880K 1T 7E; do
    byre create -f qcow2 -o cluster_size=2M -q a $size
    qemu-img info a | grep '^virtual size'
done
byre create -q -f qcow2 -o size=1.5M a
qemu-img info a | grep '^virtual size'
for size in '' x 1.5 1x 9E 16E 99999999999999999999 1kk '1 M'; do
    byre create -f qcow2 b "$size"
    byre create -f qcow2 b -o "size=$size"
done
byre create -f qcow2 b -- -5
byre create -f qcow2 b
byre create -f qcow2 -o size=1M b 2M
byre create -f qcow2 -o cluster_size=512 b 200G
left b
