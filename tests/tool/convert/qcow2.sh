# Without this the disk in a new image could be another one than that it was made
# from.
. "$TOOLS/functions.sh"
make_overlay
to() {
    format=$1
    shift
    byre convert -O $format "$@" o.qcow2 got
    qemu-img compare -s -f qcow2 -F $format o.qcow2 got >/dev/null 2>&1 ||
        qemu-img compare -f qcow2 -F $format o.qcow2 got
    [ $format != qcow2 ] || qemu-img check -q got || echo "(check $?)"
    rm got
}
to qcow2
to qcow
to raw
to qcow2 -o compat=0.10
to qcow2 -o cluster_size=512
to qcow2 -o cluster_size=2M
to qcow2 -o extended_l2=on
to qcow2 -o refcount_bits=1 -o lazy_refcounts=on
to qcow2 -o preallocation=metadata
to qcow2 -o preallocation=falloc
to qcow2 -o preallocation=full
to qcow2 -S 0
to qcow2 -S 64k -W -t none -T none
to qcow2 -t writethrough
to qcow2 -o data_file=data,data_file_raw=on
qemu-img compare -f raw -F qcow2 data o.qcow2
for threads in 1 2 16; do
    "$BYRE" convert -O qcow2 -m $threads o.qcow2 t$threads
done
cmp t1 t2 && cmp t1 t16 && echo 'the same bytes'
# Into the place of a larger file.
head -c 9000000 /dev/zero | tr '\0' Z >big
byre convert -O qcow2 o.qcow2 big
qemu-img compare o.qcow2 big
qemu-img check -q big || echo "(check $?)"
byre convert -O qcow2 o.qcow2 base.raw o.qcow2 three
qemu-img convert -O raw o.qcow2 base.raw o.qcow2 want
qemu-img compare -f raw -F qcow2 want three
