# Without this images with the old encryption could not be read.
. "$TOOLS/functions.sh"
need crypto
printf 'x' >pass
for format in qcow2 qcow; do
    qemu-img create -q -f $format --object secret,id=s0,file=pass \
        -o encrypt.format=aes,encrypt.key-secret=s0 a.$format 256k
    opts=driver=$format,file.filename=a.$format,encrypt.key-secret=s0
    qemu-io --object secret,id=s0,file=pass --image-opts \
        -c 'write -P 0x5a 64k 64k' $opts >/dev/null
    qemu-img convert --object secret,id=s0,file=pass --image-opts $opts want.raw
    byre convert --passphrase-file pass a.$format got.raw
    cmp got.raw want.raw && echo same
done
