# Without this -l could read another state than the snapshot's.
. "$TOOLS/functions.sh"
make_data 128
cp d.raw old.raw
qemu-img snapshot -c old d.qcow2
qemu-io -c 'write -P 1 0 64k' d.qcow2 >/dev/null
qemu-img snapshot -c 1 d.qcow2
qemu-img convert -l snapshot.name=1 -O raw d.qcow2 new.raw
for choice in old snapshot.id=1 snapshot.name=old snapshot.id=1,snapshot.name=old 1; do
    byre convert -l $choice d.qcow2 got.raw
    cmp got.raw old.raw && echo old
done
for choice in 2 snapshot.name=1 snapshot.id=2; do
    byre convert -l $choice d.qcow2 got.raw
    cmp got.raw new.raw && echo new
done
rm got.raw
for choice in nosuch snapshot.id=old snapshot.name=2 snapshot.id=1,snapshot.name=1 \
    snapshot.nosuch=1 snapshot.id; do
    byre convert -l $choice d.qcow2 got.raw
done
byre convert -l 1 d.raw got.raw
left got.raw
