# Without this wrong numbers could be taken, and what was measured be something
# else than what was asked for.
. "$TOOLS/bench/common.inc"
qemu-img create -q -f qcow2 b.qcow2 64M
for options in '-c x' '-c -5' '-c 4294967296' '-c 1k' '-d 0' '-d x' '-d -1' '-s x' \
    '-s 3G' '-S x' '-S 3G' '-o x' '-o -5' '-w --pattern 256' '-w --pattern x' \
    '-w --flush-interval x' '-w --flush-interval -1' '-i foo' '-t foo' '-U -w -c 5' \
    '-c 10 --flush-interval 4' '-w --flush-interval 4 -d 8' '-f foo' '-c 2 -o 65M' \
    '-c 2 -s 65M' '-c 2 -o 63M -s 2M'; do
    byre bench $options b.qcow2
done
both --flush-interval 4 b.qcow2
both -w --flush-interval 4 b.qcow2
byre bench
byre bench a b
byre bench nofile
