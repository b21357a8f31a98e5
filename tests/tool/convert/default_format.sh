# Without this a target of another format than raw could be promised.
. "$TOOLS/functions.sh"
make_data 64
byre convert d.qcow2 a.raw && cmp a.raw d.raw
byre convert -O qcow2 d.qcow2 b
byre convert -O qcow d.qcow2 b
byre convert -O vmdk d.qcow2 b
byre convert -c d.qcow2 b
byre convert -B d.raw -F raw d.qcow2 b
byre convert --backing d.raw d.qcow2 b
byre convert --bitmaps d.qcow2 b
left b
