# Without this an image of a format that byre does not have would be read as a raw
# disk, and its description taken for the disk's.
. "$TOOLS/functions.sh"
for format in vmdk vdi vhdx parallels qed; do
    qemu-img create -q -f $format "a.$format" 1M || echo "no $format"
    byre info "a.$format"
    byre info -f $format "a.$format"
done
qemu-img create -q -f vpc -o force_size=on a.vpc 1M
byre info a.vpc
printf 'open sesame' >key
printf 'LUKS\272\276' >a.luks
byre convert -O qcow2 a.luks out
left out
byre info -f raw a.luks | sed -n 2p
byre info nbd://localhost/x
byre create -f vmdk new 1M
byre convert -O vdi a.luks new
byre measure -O vhdx --size 1M
