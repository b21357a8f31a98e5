# Without this the main job, an image into its raw disk, could go wrong for a
# format, or with some number of threads.
. "$TOOLS/functions.sh"
make_overlay
qemu-img convert -O raw o.qcow2 want.raw
qemu-img convert -O qcow2 -c o.qcow2 c.qcow2
qemu-img convert -O qcow o.qcow2 v1.qcow
for image in o.qcow2 c.qcow2 v1.qcow want.raw; do
    byre convert -f "$(echo $image | sed 's/.*\.//')" -O raw $image got.raw
    cmp got.raw want.raw && echo same
    rm got.raw
done
for threads in 1 2 16; do
    "$BYRE" convert -m $threads -W o.qcow2 got.raw
    cmp got.raw want.raw && echo same
done
