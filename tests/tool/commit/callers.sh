# Without this vdsm, Proxmox and Incus could not commit with their own words.
. "$TOOLS/functions.sh"
chain() {
    rm -f base.qcow2 mid.qcow2 top.qcow2
    qemu-img create -q -f qcow2 base.qcow2 2M
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2 3M
    qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
    qemu-io -c 'write -q -P 1 0 1M' base.qcow2
    qemu-io -c 'write -q -P 2 64k 64k' mid.qcow2
    qemu-io -c 'write -q -P 3 128k 64k' -c 'write -q -P 4 2500k 100k' top.qcow2
}
shown() {
    qemu-io -r -c 'read -q -P 1 0 64k' -c 'read -q -P 2 64k 64k' \
        -c 'read -q -P 3 128k 64k' -c 'read -q -P 1 192k 832k' \
        -c 'read -q -P 4 2500k 100k' "$1"
    qemu-img check -q "$1" || echo "(check $?)"
    qemu-img info "$1" | grep ^virtual
}
chain
as_qemu_img commit -p -t none -d -f qcow2 top.qcow2 | tr '\r' '\n'
shown top.qcow2
shown mid.qcow2
chain
as_qemu_img commit -t none -b "$PWD/base.qcow2" -f qcow2 top.qcow2 | sed "s|$PWD|FOLDER|"
shown base.qcow2
shown top.qcow2
chain
as_qemu_img commit top.qcow2
as_qemu_img commit -f qcow2 mid.qcow2
shown base.qcow2
shown top.qcow2
qemu-img map --output=json top.qcow2 | grep -c '"depth": 0'
as_qemu_img commit -q mid.qcow2
chain
as_qemu_img commit -r 100M -q -b base.qcow2 top.qcow2
shown base.qcow2
