# Without this a snapshot could be missed, or another one than was named be
# applied or deleted.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 1M
state() {
    byre snapshot -l a | mask_info
    qemu-img check -q a || echo "(check $?)"
}
byre snapshot a
byre snapshot -l --output=json a
qemu-io -c 'write -P 1 0 64k' a >/dev/null
byre snapshot -c first a
qemu-io -c 'write -P 2 0 64k' a >/dev/null
byre snapshot --create 'with space' -q a
qemu-io -c 'write -P 3 0 64k' a >/dev/null
byre snapshot -f qcow2 -c 1 a
state
byre snapshot --list --output=json a | mask_info
qemu-img snapshot -l a | mask_info
# The id comes first, and then the name; -d goes by names alone.
byre snapshot -a 1 a
qemu-io -c 'read -P 1 0 64k' a | head -1
byre snapshot --apply 'with space' a
qemu-io -c 'read -P 2 0 64k' a | head -1
byre snapshot -a 3 a
qemu-io -c 'read -P 3 0 64k' a | head -1
byre snapshot -a 4 a
byre snapshot -a first --id a
byre snapshot -d 2 a
byre snapshot -d first -d nosuch a
state
byre snapshot -d first a --delete 1
state
byre snapshot --id -d 2 --image-opts driver=qcow2,file.filename=a
state
# Several of one name.
for _ in 1 2 3; do
    byre snapshot -c same a
done
byre snapshot -d same -d same a
state
byre snapshot -d same -d same a
as_qemu_img snapshot -d same a
as_qemu_img snapshot a
