# Without this the keys of version 3 could be printed wrong or out of order, or
# info could open the data file, which is gone here.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 \
    -o data_file=d.raw,extended_l2=on,lazy_refcounts=on,compression_type=zstd \
    x.qcow2 1M
qemu-img bitmap --add x.qcow2 b0
rm d.raw
byre info x.qcow2 | mask_info
byre info --output=json x.qcow2 | mask_info
