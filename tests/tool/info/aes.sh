# Without this the old encryption could be shown wrong, or need a passphrase.
. "$TOOLS/functions.sh"
printf 'x' >pass
for format in qcow2 qcow; do
    qemu-img create -q -f $format --object secret,id=s0,file=pass \
        -o encrypt.format=aes,encrypt.key-secret=s0 a.$format 1M
    byre info a.$format | mask_info
    byre info --output=json a.$format | mask_info |
        grep -E 'encrypt|aes'
done
