# Without this a compressed image could hold another disk, or none be compressed.
. "$TOOLS/functions.sh"
need zstd
python3 -c "import sys
for i in range(4 << 11):
    sys.stdout.buffer.write(bytes([i % 251]) * 256)" >d.raw
truncate -s 3M d.raw
shown() {
    qemu-img compare -f raw -F "$1" d.raw c
    [ $(wc -c <c) -lt 500000 ] && echo small
    qemu-img map -f "$1" c >/dev/null 2>&1 || echo compressed
}
byre convert -c -f raw -O qcow2 d.raw c
shown qcow2
qemu-img check -q c || echo "(check $?)"
byre convert -c -f raw -O qcow2 -o compression_type=zstd,cluster_size=2M d.raw c
shown qcow2
byre convert -c -f raw -O qcow2 -o extended_l2=on -m 4 -W d.raw c
shown qcow2
byre convert -c -f raw -O qcow d.raw c
shown qcow
