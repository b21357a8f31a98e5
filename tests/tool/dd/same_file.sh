# Without this dd could empty the file that it is about to read.
. "$TOOLS/functions.sh"
make_data 64
qemu-img create -q -f qcow2 -b d.raw -F raw o.qcow2
cp d.raw kept
ln -s d.raw link
ln d.raw second
for of in d.raw link ./second file:d.raw; do
    byre dd if=d.raw of=$of
    byre dd -U if=o.qcow2 of=$of
done
byre dd -U -O qcow2 if=o.qcow2 of=o.qcow2
cmp d.raw kept && echo kept
