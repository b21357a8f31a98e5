# Without this what io tells of an image could differ from what QEMU tells.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
make_both -f qcow2 z.qcow2 0
make_both -f qcow2 -o extended_l2=on,lazy_refcounts=on x.qcow2 5M
make_both -f qcow2 -o cluster_size=512,compat=0.10 s.qcow2 5000k
make_both -f qcow2 -b a.qcow2 -F qcow2 ov.qcow2
truncate -s 1000 ours/odd.raw theirs/odd.raw
truncate -s 1536 ours/m.raw theirs/m.raw
both -c 'write 0 64k' -c 'write 128k 64k' -c 'write -z 128k 64k' -c 'write 256k 512' -c map -c info -c length a.qcow2
both -c 'alloc 0 64k' -c 'alloc 2M' -c 'alloc 0 2M' -c 'alloc 5 70000' -c 'a 0' -c 'alloc 0 0' -c 'alloc 64k 70k' a.qcow2
both -c 'write 100k 512' -c map -c 'alloc 0 1M' -c i ov.qcow2
for image in z.qcow2 x.qcow2 s.qcow2; do
    both -c info -c map -c length -c 'alloc 0' -c 'read 0 0' $image
done
both -f raw -c info -c map -c length -c 'alloc 0 1000' -c 'read 0 1000' odd.raw
both -f raw -c map -c length m.raw
