# Without this libvirt could not clone an encrypted volume, nor others write into
# an image that they made.
. "$TOOLS/functions.sh"
make_filled_luks
cp l.qcow2 m.qcow2
qemu-io --object secret,id=s0,file=pass --image-opts -c 'write -P 1 0 1M' \
    driver=qcow2,file.filename=m.qcow2,encrypt.key-secret=s0 >/dev/null
as_qemu_img convert --image-opts -n --target-image-opts --object secret,id=s0,file=pass --object secret,id=s1,file=pass driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 driver=qcow2,file.filename=m.qcow2,encrypt.key-secret=s1
qemu-img compare --object secret,id=s0,file=pass --image-opts driver=raw,file.filename=l.raw driver=qcow2,file.filename=m.qcow2,encrypt.key-secret=s0
qemu-img create -q -f qcow2 t 1M
as_qemu_img convert -n -f raw -O qcow2 l.raw zeroinit:t
qemu-img compare -f raw -F qcow2 l.raw t
qemu-img create -q -f qcow2 t 2M
qemu-io -c 'write -P 9 0 2M' t >/dev/null
as_qemu_img convert -n --target-image-opts -t none -T none -f raw l.raw driver=qcow2,file.filename=t,file.locking=off,discard-no-unref=true
qemu-io -c 'read -P 0 0 128k' -c 'read -P 0x5a 128k 64k' -c 'read -P 9 1M 1M' t | grep -e ^read -e ^Pattern
"$BYRE" convert -n -f raw l.raw file:s >/dev/null 2>&1 || echo "no target"
left s
qemu-img create -q -f qcow2 small 512k
"$BYRE" convert -n -f raw -O qcow2 l.raw small >/dev/null 2>&1 || echo 'too small'
