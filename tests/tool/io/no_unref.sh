# Without this discard-no-unref would be taken and not obeyed: space that was to
# stay where it is would be given to others.
. "$TOOLS/functions.sh"
for opts in '' ,discard-no-unref=on; do
    qemu-img create -q -f qcow2 a.qcow2 1M
    "$BYRE" io --image-opts -c 'write -P 1 0 256k' -c 'discard 0 64k' \
        -c 'write -z -u 64k 64k' -c 'flush' -c 'read -P 0 0 128k' -c 'read -P 1 128k 128k' \
        "driver=qcow2,file.filename=a.qcow2$opts" | grep -v ops
    qemu-img map --output=json a.qcow2
    qemu-img check a.qcow2 | head -1
done
