# Without this numbers out of range could be taken for others.
. "$TOOLS/functions.sh"
make_data 64
for size in 100 x 513 16777728 -1 1.5; do
    byre convert -S "$size" d.qcow2 a.raw
done
for count in 0 17 x 1x '' -1; do
    byre convert -m "$count" d.qcow2 a.raw
done
byre convert -r x d.qcow2 a.raw
byre convert -t nosuch d.qcow2 a.raw
byre convert -T nosuch d.qcow2 a.raw
byre convert -C -S 4k d.qcow2 a.raw
left a.raw
for good in '-S 512' '-S 16M' '-S 1.5k' '-m 1' '-m 16' '-r 1G' '-t writethrough' \
    '-t unsafe' '-T none' '-C' '-T directsync -t writeback'; do
    byre convert $good d.qcow2 a.raw
    cmp a.raw d.raw
    rm -f a.raw
done
