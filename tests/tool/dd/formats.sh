# Without this dd could make an image of another format or size than was asked.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 s.qcow2 4M
qemu-io -c 'write -P 5 64k 64k' -c 'write -P 6 3M 1M' s.qcow2 >/dev/null
for format in raw qcow qcow2; do
    byre dd -O $format if=s.qcow2 of=o.$format bs=64k skip=1
    qemu-img info -f $format o.$format | grep -e ^file -e ^virtual
    qemu-img dd -O $format if=s.qcow2 of=t.$format bs=64k skip=1
    qemu-img compare -f $format -F $format o.$format t.$format
done
qemu-img check -q o.qcow2 || echo "(check $?)"
# What reads as zeroes takes no space.
[ $(($(stat -c '%b*%B' o.raw))) -lt 2097152 ] && echo sparse
byre dd -O qcow2 if=s.qcow2 of=o.qcow2 isize=1M osize=2M
qemu-img info o.qcow2 | grep ^virtual
byre dd -O qcow2 if=s.qcow2 of=o.qcow2 count=0
qemu-img info o.qcow2 | grep ^virtual
byre dd -O qcow if=s.qcow2 of=v1 count=0
left v1
