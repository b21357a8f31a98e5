# Without this a check could ask for a passphrase that it does not need.
. "$TOOLS/functions.sh"
make_filled_luks
byre check l.qcow2
byre check --object secret,id=s0,data=wrong --image-opts \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
qemu-img create -q -f qcow2 --object secret,id=s0,file=pass \
    -o encrypt.format=aes,encrypt.key-secret=s0 a.qcow2 1M 2>/dev/null
byre check a.qcow2
# LUKS areas count: the leak is behind it.
truncate -s 4M l.qcow2
poke l.qcow2 $((0x20000 + 2 * 60)) '\000\001'
byre check l.qcow2
byre check -r all l.qcow2
byre convert --passphrase-file pass -O raw l.qcow2 out.raw
cmp out.raw l.raw
