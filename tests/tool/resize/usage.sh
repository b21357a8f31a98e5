# Without this a size could be taken for another one, or a disk be cut by a
# mistake.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 1M
byre resize
byre resize a
byre resize a 2M more
byre resize a -- -1M more
for size in '' x + - ++1M +-1M 1.5 1x 9E; do
    byre resize a "$size"
done
byre resize --preallocation nosuch a 2M
byre resize --image-opts -f qcow2 a 2M
byre resize -f nosuch a 2M
byre resize gone 2M
byre resize -U a 2M
for size in 0 -1M -2M +8191P +9223372036854775807 512k -1; do
    byre resize a $size
done
byre resize --shrink a 0
byre resize --shrink --preallocation=full a 512k
byre resize --preallocation=falloc a 1M
qemu-img info a | grep ^virtual
