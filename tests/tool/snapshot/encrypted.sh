# Without this the snapshots of an encrypted disk could not be read, or need a
# key where none is used.
. "$TOOLS/functions.sh"
make_filled_luks
byre snapshot -c x --object secret,id=s0,file=pass \
    --image-opts driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
qemu-io --object secret,id=s0,file=pass --image-opts -c 'write -P 1 128k 64k' \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 >/dev/null
byre snapshot l.qcow2 | mask_info
byre snapshot --passphrase-file pass -a x l.qcow2
qemu-img compare --object secret,id=s0,file=pass --image-opts \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 \
    driver=raw,file.filename=l.raw
byre snapshot --passphrase-file pass -d x l.qcow2
qemu-img check -q --object secret,id=s0,file=pass --image-opts \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
