# Without this a mistyped command could be taken for success, or the hint where
# to look could be lost.
. "$TOOLS/functions.sh"
byre
byre frobnicate
byre --nosuch
byre -x
byre info --nosuch x
byre info -x x
byre info -f
byre info --format
byre map -Ux x
as_qemu_img
as_qemu_img frobnicate
as_qemu_img convert --nosuch
