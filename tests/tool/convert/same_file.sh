# Without this a target that is read at the same time would be destroyed.
. "$TOOLS/functions.sh"
make_data 64
qemu-img create -q -f qcow2 -b d.qcow2 -F qcow2 o.qcow2
cp d.qcow2 kept
ln -s d.qcow2 link
ln d.qcow2 hard
for target in d.qcow2 ./d.qcow2 link hard; do
    byre convert d.qcow2 $target
    byre convert -n o.qcow2 $target
    byre convert d.raw d.qcow2 $target
    cmp d.qcow2 kept && echo kept
done
byre convert -U d.qcow2 d.qcow2
cmp d.qcow2 kept && echo kept
