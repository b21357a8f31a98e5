# Without this byre would fail in clouds that bound its address space and its time:
# those give qemu-img 1 GiB and, for info, two seconds of a processor.
. "$TOOLS/functions.sh"
make_data 4000
qemu-img convert -c -O qcow2 d.raw c.qcow2
qemu-img create -q -f qcow2 -o cluster_size=512 large.qcow2 64G
[ "$(ulimit -v 1048576 && "$BYRE" --version | head -c 4)" = byre ] ||
    skip 'byre does not run in 1 GiB here (a sanitizer)'
limited() {
    (ulimit -v 1048576 && "$BYRE" "$@" 2>&1) || echo "failed: $*"
}
for workers in 1 2 16; do
    limited convert -m $workers -O qcow2 c.qcow2 out.qcow2
    limited convert -m $workers -c -O qcow2 c.qcow2 out.qcow2
    limited convert -m $workers -W -O raw c.qcow2 out
    cmp out d.raw
done
limited convert -O raw c.qcow2 out
cmp out d.raw
for workers in 1 16 64; do
    limited checksum -m $workers c.qcow2
done
limited compare c.qcow2 d.raw
limited measure -O qcow2 c.qcow2
limited map --output=json c.qcow2 >/dev/null
limited resize large.qcow2 128G
for image in c.qcow2 large.qcow2 d.raw; do
    (ulimit -v 1048576 && ulimit -t 2 &&
        "$BYRE" info --output=json $image >/dev/null) ||
        echo "info $image failed"
done
