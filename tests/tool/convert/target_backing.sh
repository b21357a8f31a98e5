# Without this the new overlay could read otherwise than the old one, or hold what
# its backing file has.
. "$TOOLS/functions.sh"
make_overlay
to() {
    byre convert -O qcow2 "$@"
    qemu-img info t | grep ^backing
    qemu-img compare o.qcow2 t
    qemu-img check -q t || echo "(check $?)"
    qemu-img map --output=json t | grep -c '"depth": 0, "present": true'
    rm -f t
}
to -B base.raw -F raw o.qcow2 t
to -b base.raw -F raw o.qcow2 t
to -o backing_file=base.raw,backing_fmt=raw o.qcow2 t
to -B base.raw -F raw -o backing_file=gone o.qcow2 t
qemu-img create -q -f qcow2 -b base.raw -F raw t
to -n -B base.raw -F raw o.qcow2 t
# An existing target records the format of its backing file itself.
qemu-img create -q -f qcow2 -b base.raw -F raw existing.qcow2
cp base.raw copy.raw
byre convert -n -O qcow2 -B base.raw -f raw copy.raw existing.qcow2
