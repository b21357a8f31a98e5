# Without this byre could probe a file that a guest wrote, or refuse under the
# name qemu-img what is common there.
. "$TOOLS/functions.sh"
make_overlay
forget_backing_format o.qcow2
byre convert o.qcow2 a.raw
left a.raw
byre convert --probe-backing o.qcow2 a.raw
as_qemu_img convert o.qcow2 b.raw
cmp a.raw b.raw && echo same
