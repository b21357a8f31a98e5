# Without this a disk could get another size, or lose bytes it should keep.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 1M
qemu-io -c 'write -P 1 0 64k' -c 'write -P 2 960k 64k' a >/dev/null
shown() {
    qemu-img info a | grep ^virtual
    qemu-img check -q a || echo "(check $?)"
}
byre resize a 2M
shown
byre resize -q a +1G
shown
byre resize a +0
byre resize --shrink a -1G
shown
byre resize a --shrink -f qcow2 -512k
shown
byre resize --shrink -- a -512k
shown
qemu-io -c 'read -P 1 0 64k' -c 'read -P 2 960k 64k' a | grep -c ^read
byre resize a -- +1.5M
byre resize --image-opts driver=qcow2,file.filename=a 4M
shown
qemu-io -c 'read -P 0 1M 3M' a | head -1
byre resize --shrink a 1001
byre resize a 1000P
shown
qemu-img create -q -f qcow b 1M
byre resize b 2M
