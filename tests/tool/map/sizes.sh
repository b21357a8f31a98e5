# Without this sizes could be read otherwise than qemu-img reads them.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o cluster_size=2M a.qcow2 2E
for size in 0 7b 5K 5k 1.5k 1.1k 1.1M 0.5G 1t 1P 1E 0x10 ' 5' +5 1. 1.k 2047P; do
    echo "$size: $("$BYRE" map --output=json -l 512 -s "$size" a.qcow2 |
        sed 's/.*"start": \([0-9]*\).*/\1/')"
    qemu-img map --output=json -l 512 -s "$size" a.qcow2 |
        sed 's/.*"start": \([0-9]*\).*/\1/'
done
for size in '' k 5x 5kB 1.5 1.7b .5k 1e3 -1 0x 0xg 0x10k; do
    byre map -s "$size" a.qcow2
done
byre map -l 8E a.qcow2
byre map -s 16E a.qcow2
byre map -l 99999999999999999999 a.qcow2
byre map -l 1.5.5k a.qcow2
