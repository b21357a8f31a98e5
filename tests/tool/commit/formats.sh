# Without this a base in another format, or an encrypted one, could get wrong
# bytes, and one whose size is fixed could be cut.
. "$TOOLS/functions.sh"
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2 1500k
qemu-io -c 'write -q -P 3 128k 64k' -c 'write -q -P 4 1400k 100k' top.qcow2
byre commit top.qcow2
wc -c <base.raw
qemu-io -f raw -r -c 'read -q -P 3 128k 64k' -c 'read -q -P 4 1400k 100k' base.raw
qemu-img create -q -f qcow base.qcow 1M
qemu-img create -q -f qcow2 -b base.qcow -F qcow larger.qcow2 2M
byre commit larger.qcow2
qemu-img create -q -f qcow2 -b base.qcow -F qcow same.qcow2
qemu-io -c 'write -q -P 5 100k 10k' same.qcow2
byre commit same.qcow2
qemu-io -f qcow -r -c 'read -q -P 5 100k 10k' -c 'read -q -P 0 0 100k' base.qcow
make_filled_luks
qemu-img create -q -f qcow2 -b l.qcow2 -F qcow2 over.qcow2 1M
qemu-io --object secret,id=s0,file=pass --image-opts -c 'write -q -P 6 0 4k' \
    driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2,backing.file.filename=l.qcow2,backing.encrypt.key-secret=s0
byre commit --passphrase-file pass over.qcow2
byre commit --object secret,id=s0,file=pass --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2,backing.file.filename=l.qcow2,backing.encrypt.key-secret=s0
qemu-io --object secret,id=s0,file=pass --image-opts \
    -c 'read -q -P 0x5a 128k 64k' -c 'read -q -P 6 0 4k' \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
