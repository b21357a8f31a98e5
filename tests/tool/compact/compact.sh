# Without this compact could say one thing and do another, or take what it must
# not touch.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-io -c 'write -q -P 1 0 8M' -c 'write -q -P 0 1M 4M' -c 'discard -q 6M 1M' \
    a.qcow2
cp a.qcow2 b.qcow2
cp a.qcow2 q.qcow2
byre compact a.qcow2
qemu-img check -q a.qcow2 && qemu-img compare a.qcow2 q.qcow2
byre compact --output=json -f qcow2 b.qcow2
byre compact -q q.qcow2
cmp a.qcow2 q.qcow2 && cmp a.qcow2 b.qcow2
byre compact -p -q a.qcow2
qemu-img create -q -f raw r 1M
for words in "-f raw r" "a.qcow2 b.qcow2" "missing" "--output=xml a.qcow2" ""; do
    byre compact $words 2>&1
done
make_filled_luks
as_qemu_img compact --object secret,id=s0,file=pass --image-opts driver=qcow2,encrypt.key-secret=s0,file.filename=l.qcow2
qemu-io --object secret,id=s0,file=pass --image-opts -c 'read -P 0x5a 128k 64k' \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 | head -1
