# Without this a command line that programs use could stop working.
. "$TOOLS/functions.sh"
make_overlay
qemu-img convert -O qcow2 o.qcow2 A
make() {
    as_qemu_img convert "$@"
    for target; do :; done
    qemu-img compare o.qcow2 "$target"
}
make -f qcow2 -O qcow2 -o compat=0.10 A B
make -f qcow2 -O qcow2 -o preallocation=metadata,compat=0.10 A B
make -f qcow2 -O qcow2 A -c -o compat=1.1 B
make -f qcow2 A -O raw B.raw
make -onocow=on -fraw -Oqcow2 B.raw B
make -q -t none -T none -O qcow2 -f qcow2 A -W B
make -f raw -O qcow2 -o preallocation=metadata,compat=0.10,lazy_refcounts=off B.raw B
make -T none -t none -f qcow2 -O qcow2 -B base.raw -o backing_fmt=raw o.qcow2 B
