# Without this --bitmaps could lose bitmaps without a word, or fail where there
# are none.
. "$TOOLS/functions.sh"
make_data 64
qemu-img create -q -f qcow2 bm 1M
qemu-img bitmap --add bm b0
qemu-img bitmap --add --disable -g 512 bm b1
qemu-io -c 'write -q 64k 1k' bm
qemu-img bitmap --merge b0 bm b1
qemu-img create -q -f qcow2 broken 1M
qemu-img bitmap --add broken b1
byre convert --bitmaps -O qcow2 bm t
byre bitmap --list t
qemu-img check -q t || echo "(check $?)"
byre convert -n --bitmaps -O qcow2 bm t
byre convert --bitmaps -O qcow2 -o compat=0.10 bm t
byre convert --bitmaps -O qcow bm t
byre convert --bitmaps -O raw bm t
byre convert --bitmaps -f raw -O qcow2 d.raw t
rm t
byre convert --bitmaps -O qcow2 d.qcow2 t
qemu-img compare d.qcow2 t
byre convert --bitmaps --skip-broken-bitmaps -O qcow2 d.qcow2 t
# The entry's flag tells that a program that was to keep the bitmap did not end.
offset=$(LC_ALL=C grep -obUaP '\x00\x00\x00\x02\x01\x10\x00\x02' broken | sed 's/:.*//')
poke broken "$offset" '\000\000\000\003'
byre convert --bitmaps -O qcow2 broken t
byre convert --bitmaps --skip-broken-bitmaps -O qcow2 broken t
qemu-img compare broken t
