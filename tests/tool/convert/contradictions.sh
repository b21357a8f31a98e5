# Without this options that exclude each other could be taken, and one of them be
# forgotten, or a target be touched by a command that fails.
. "$TOOLS/functions.sh"
make_data 64
printf 'open sesame' >pass
printf 'some bytes' >b
qemu-img create -q -f qcow2 -b d.qcow2 -F qcow2 ov
refused() {
    byre convert "$@" b
}
refused -O qcow2 -B d.qcow2 ov
refused -O qcow2 -b d.qcow2 ov
refused -O qcow2 -o backing_file=d.qcow2 ov
refused -O qcow2 -F qcow2 ov
refused -O qcow2 -B d.qcow2 -F qcow2 ov ov
refused -O qcow2 -B '' -F qcow2 ov
refused -O raw -B d.qcow2 -F qcow2 ov
refused -c ov
refused -c -O qcow2 --passphrase-file pass -o encrypt.format=luks ov
refused -c -O qcow2 -o preallocation=metadata ov
refused -c -O qcow2 -o data_file=d ov
refused -C -S 4k ov
refused -C -c -O qcow2 ov
refused -C --salvage ov
refused -n -o compat=1.1 -O qcow2 ov
refused -n --target-image-opts -O qcow2 ov
refused --target-image-opts ov
refused --target-is-zero ov
refused --bitmaps ov
refused --bitmaps -O qcow2 ov ov
refused --skip-broken-bitmaps -O qcow2 ov
refused -O qcow2 -o nosuch=1 ov
refused -O qcow2 -o encrypt.format=luks ov
refused -O qcow -o cluster_size=64k ov
refused -O luks ov
cat b
echo
left d
