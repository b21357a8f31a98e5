# Without this zeroes could take space on the disk, or -S 0 leave holes.
. "$TOOLS/functions.sh"
# 1 MiB of data, 2 MiB of zeroes written out, 1 MiB unallocated.
make_data 1024
qemu-img resize -q -f raw d.raw 4M
qemu-img convert -f raw -O qcow2 d.raw a.qcow2
qemu-io -c 'write -P 0 1M 2M' a.qcow2 >/dev/null
kib() { du -k "$1" | cut -f1; }
"$BYRE" convert a.qcow2 holes.raw
"$BYRE" convert -S 0 a.qcow2 full.raw
"$BYRE" convert -S 64k a.qcow2 coarse.raw
"$BYRE" convert -o preallocation=full a.qcow2 prefull.raw
"$BYRE" convert -o preallocation=falloc a.qcow2 reserved.raw
"$BYRE" convert -o preallocation=off a.qcow2 off.raw
for file in holes full coarse prefull reserved off; do
    cmp $file.raw d.raw
    [ "$(kib $file.raw)" -lt 4096 ] && echo $file has holes || echo $file is full
done
