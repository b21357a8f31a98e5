# Without this an encrypted image could not be resized as libvirt does it.
. "$TOOLS/functions.sh"
make_filled_luks
as_qemu_img resize --object secret,id=s0,file=pass --image-opts driver=qcow2,encrypt.key-secret=s0,file.filename=l.qcow2 2097152
qemu-img info l.qcow2 | grep ^virtual
qemu-io --object secret,id=s0,file=pass --image-opts -c 'read -P 0x5a 128k 64k' \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 | head -1
