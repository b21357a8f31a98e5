# Without this a copy that should be encrypted could be stored in the clear, or
# with another passphrase.
. "$TOOLS/functions.sh"
make_filled_luks
as_qemu_img convert -O qcow2 -f raw --object secret,id=sec1,file=pass -o encrypt.key-secret=sec1 -o encrypt.format=luks -o encrypt.cipher-alg=aes-256 -o encrypt.cipher-mode=xts -o encrypt.hash-alg=sha256 -o encrypt.iter-time=10 -o encrypt.ivgen-alg=plain64 -o encrypt.ivgen-hash-alg=sha256 l.raw t
byre convert -O qcow2 -f raw --passphrase-file pass -o encrypt.format=aes l.raw a
byre convert -O qcow -f raw --object secret,id=s,file=pass -o encryption=on,encrypt.key-secret=s l.raw v1
for image in qcow2:t qcow2:a qcow:v1; do
    qemu-img compare --object secret,id=s0,file=pass --image-opts \
        driver=raw,file.filename=l.raw \
        driver=${image%:*},file.filename=${image#*:},encrypt.key-secret=s0
    LC_ALL=C grep -q ZZZZ "${image#*:}" && echo "in the clear"
done
exit 0
