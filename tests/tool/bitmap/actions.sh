# Without this a bitmap could note what it should not, or lose what it has, and
# the order of the actions on the command line could be lost.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 10M
shown() {
    "$BYRE" bitmap --list a
    qemu-img check -q a || echo "(check $?)"
}
byre bitmap --add a b0
byre bitmap --add -g 4k --disable a off
shown
qemu-io -c 'write -q 1M 100k' a
"$BYRE" io -c 'write -q 9M 1' -c 'discard -q 3M 64k' a
shown
byre bitmap --merge b0 a off -f qcow2
byre bitmap --clear --disable a b0
byre bitmap a off --enable
shown
cp a other
byre bitmap --clear a off
byre bitmap --add --merge b0 --merge off -b other -F qcow2 a new
byre bitmap --remove --add a b0
shown
byre resize -q a 20M
byre resize -q --shrink a 2M
shown
byre bitmap --remove a b0
byre bitmap --remove-all a
shown
qemu-img info a | grep -A3 bitmaps
as_qemu_img bitmap --add --image-opts driver=qcow2,file.filename=a b9
shown
