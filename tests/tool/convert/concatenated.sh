# Without this several sources could be put together in another order or with
# gaps.
. "$TOOLS/functions.sh"
make_data 100
qemu-img create -q -f qcow2 empty.qcow2 64k
byre convert d.qcow2 empty.qcow2 d.raw all.raw
truncate -s 64k zeroes
cat d.raw zeroes d.raw | cmp - all.raw && echo same
"$BYRE" convert d.qcow2 empty.qcow2 d.raw /dev/stdout | cmp - all.raw && echo same
byre convert -l 1 d.qcow2 empty.qcow2 none.raw
byre convert d.qcow2 nothing d.raw none.raw
left none.raw
