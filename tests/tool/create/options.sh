# Without this an option could be lost on its way into the image, or the line
# that tells of them change under its callers.
. "$TOOLS/functions.sh"
need zstd
make() {
    byre create -f "$@"
    shift
    while [ $# -gt 2 ]; do shift; done
    qemu-img info "$1" | sed -n '/^cluster_size/p; /^Format/,/^Child/p' |
        sed '/^Format/d; /^Child/d'
    qemu-img check -q "$1"
}
make qcow2 -o preallocation=metadata,refcount_bits=8,compat=v3 a 1M
make qcow2 -o compression_type=zstd,lazy_refcounts,extended_l2=on b 1M
make qcow2 -o data_file=d.raw,data_file_raw=on,cluster_size=128k c 1M
wc -c <d.raw
make qcow2 -o nolazy_refcounts,compat=v2,nocow=on,extent_size_hint=1M d 1M
make qcow2 -o cluster_size=128k -o lazy_refcounts=yes -o cluster_size=64k e 1M
make qcow2 -o refcount_bits=0x20,preallocation=falloc f 1M
printf keep >k.raw
truncate -s 1M k.raw
make qcow2 -o data_file=k.raw,data_file_raw=on,keep_data_file=on g 1M
head -c 4 k.raw
echo
byre create -o preallocation=full raw 100k
byre create -o preallocation=falloc,nocow=off,extent_size_hint=1M raw 100k
[ $(($(stat -c '%b*%B' raw))) -ge 102400 ] && echo reserved
