# Without this QEMU's run-time options could be taken for something else, or what
# is misspelt be taken for an option.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
for pair in lazy-refcounts=on node-name=x discard=unmap detect-zeroes=off \
    l2-cache-size=64k cache-size=1M refcount-cache-size=64k \
    l2-cache-entry-size=4k cache-clean-interval=10 overlap-check=all \
    overlap-check.template=none overlap-check.active-l2=on \
    pass-discard-request=off pass-discard-other=on discard-no-unref=on \
    cache.direct=on cache.no-flush=on read-only=on auto-read-only=on \
    force-share=on file.locking=off file.aio=threads \
    nosuch=1 cache.nosuch=on discard=perhaps locking=off lazy-refcounts=7 \
    overlap-check.nosuch=on l2-cache-size=x file.nosuch=1; do
    echo "$pair: $("$BYRE" compare --image-opts \
        "driver=qcow2,file.filename=a.qcow2,$pair" \
        driver=qcow2,file.filename=a.qcow2 2>&1)"
done
for pair in read-only=on force-share=on file.read-only=on auto-read-only=on; do
    byre resize --image-opts "driver=qcow2,file.filename=a.qcow2,$pair" 1M
done
qemu-img create -q -f qcow2 -o compat=0.10 b.qcow2 1M
byre resize --image-opts driver=qcow2,file.filename=b.qcow2,discard-no-unref=on 2M
