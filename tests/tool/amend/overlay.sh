# Without this a cluster of zeroes in an overlay could show its backing file
# once the image is of the older version; in a snapshot too.
. "$TOOLS/functions.sh"
qemu-img create -q -f raw base 1M
qemu-io -f raw -c 'write -q -P 9 0 1M' base
qemu-img create -q -f qcow2 -b base -F raw a
qemu-io -c 'write -q -P 1 0 256k' -c 'write -q -z 64k 64k' -c 'write -q -z -u 128k 64k' \
    -c 'write -q -z 512k 64k' a
qemu-img snapshot -c one a
qemu-io -c 'write -q -z 0 64k' -c 'write -q -P 2 128k 4k' -c 'discard -q 192k 64k' a
qemu-img snapshot -c two a
qemu-io -c 'write -q -P 3 1000k 24k' -c 'write -q -z 640k 64k' a
cp a before
byre amend -o compat=0.10 a
qemu-img info a | sed -n '/compat:/p;/^backing file/p'
qemu-img check a | head -1
qemu-img compare a before
for snapshot in one two; do
    qemu-img convert -l $snapshot -O raw a x
    qemu-img convert -l $snapshot -O raw before y
    cmp x y && echo same
done
byre amend -o compat=1.1 a
qemu-img check a | head -1
qemu-img compare a before
