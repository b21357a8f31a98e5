# Without this nova, vdsm, Proxmox and Incus could not rebase with their own
# words.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 2M
qemu-io -c 'write -q -P 1 0 1M' a.qcow2
cp a.qcow2 b.qcow2
qemu-io -c 'write -q -P 2 256k 256k' b.qcow2
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2 3M
qemu-io -c 'write -q -P 3 64k 64k' top.qcow2
shown() {
    qemu-io -r -c 'read -q -P 1 0 64k' -c 'read -q -P 3 64k 64k' \
        -c 'read -q -P 1 128k 896k' -c 'read -q -P 0 1M 2M' top.qcow2
    qemu-img check -q top.qcow2 || echo "(check $?)"
    qemu-img info top.qcow2 | grep ^backing
}
as_qemu_img rebase -t none -T none -f qcow2 -b b.qcow2 -F qcow2 top.qcow2
shown
qemu-img map --output=json top.qcow2 | grep '"depth": 0'
as_qemu_img rebase -b a.qcow2 -F qcow2 -f qcow2 -p top.qcow2 | tr '\r' '\n'
shown
mv a.qcow2 c.qcow2
as_qemu_img rebase -u -b c.qcow2 -F qcow2 top.qcow2
shown
as_qemu_img rebase -u -b "$PWD/c.qcow2" --backing-format qcow2 top.qcow2 | sed "s|$PWD|FOLDER|"
qemu-img info top.qcow2 | grep '^backing file:' | sed "s|$PWD|FOLDER|"
as_qemu_img rebase -b '' top.qcow2
shown
as_qemu_img rebase -c -b c.qcow2 -B qcow2 top.qcow2
shown
as_qemu_img rebase -u top.qcow2
qemu-img info top.qcow2 | grep ^backing
