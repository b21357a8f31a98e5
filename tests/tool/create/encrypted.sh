# Without this an image could be encrypted with another passphrase than the one
# that was given, or not at all.
. "$TOOLS/functions.sh"
need crypto
printf 'open sesame' >pass
secret=secret,id=s0,file=pass
opened() {
    qemu-io --object $secret --image-opts -c 'write -P 7 0 64k' \
        -c 'read -P 7 0 64k' "driver=$1,file.filename=$2,encrypt.key-secret=s0" |
        grep -c 65536
}
byre create -f qcow2 --object $secret -o encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10 a 1M
opened qcow2 a
byre create -f qcow2 --object $secret -o encrypt.format=luks -o encrypt.key-secret=s0 -o encrypt.cipher-alg=aes-128 -o encrypt.cipher-mode=cbc -o encrypt.ivgen-alg=essiv -o encrypt.ivgen-hash-alg=sha256 -o encrypt.hash-alg=sha1 -o encrypt.iter-time=10 -o compat=0.10 a 1M
opened qcow2 a
qemu-img info a | sed -n '/encrypt:/,/cipher mode/p' | grep -v uuid
byre create -f qcow2 --passphrase-file pass -o encrypt.format=aes a 1M
opened qcow2 a
byre create -f qcow --object $secret -o encryption=on,encrypt.key-secret=s0 a 1M
opened qcow a
byre create -q -f qcow2 -o encryption=off a 1M
qemu-img info a | grep -c encrypted
rm a
echo refused
for list in encryption=on encrypt.format=luks encryption=on,encrypt.format=aes \
    encrypt.format=nosuch encrypt.cipher-alg=aes-128 encrypt.key-secret=s0 \
    encryption=off,encrypt.key-secret=s0 encryption=maybe \
    encrypt.format=luks,encrypt.key-secret=s1 \
    encrypt.format=aes,encrypt.key-secret=s0,encrypt.iter-time=10 \
    encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=x \
    encrypt.format=luks,encrypt.key-secret=s0,encrypt.cipher-alg=nosuch; do
    byre create -q -f qcow2 --object $secret -o $list a 1M
done
byre create -q -f qcow --object $secret -o encrypt.format=luks,encrypt.key-secret=s0 a 1M
byre create -q -f raw -o encryption=on a 1M
printf '\377' >pass
byre create -q -f qcow2 --object $secret -o encrypt.format=aes,encrypt.key-secret=s0 a 1M
left a
