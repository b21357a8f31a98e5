# Without this a wrong option could be passed over, or a file be touched by a
# command that fails.
. "$TOOLS/functions.sh"
byre create
byre create -f qcow2
byre create a 1M more
byre create -f nosuch a 1M
byre create -f luks a 1M
byre create --nosuch a 1M
printf 'some bytes' >a
for list in nosuch=1 =1 compat=1.5 compat= refcount_bits=x refcount_bits=-1 \
    refcount_bits=0 refcount_bits=3 refcount_bits=4294967312 cluster_size=0 \
    cluster_size=1.5k cluster_size=4M cluster_size=x lazy_refcounts=maybe \
    preallocation=x compression_type=x extended_l2=on,cluster_size=4k \
    compat=0.10,lazy_refcounts=on compat=0.10,refcount_bits=8 \
    compat=0.10,data_file=d compat=0.10,extended_l2=on \
    compat=v2,compression_type=zstd data_file_raw=on data_file= nonsense; do
    byre create -q -f qcow2 -o "$list" a 1M
done
byre create -q -f qcow2 -o data_file=d,data_file_raw=on,backing_file=b,backing_fmt=raw -u a 1M
byre create -q -f qcow2 -o preallocation=metadata,backing_file=b,backing_fmt=raw -u a 1M
for list in '' , ,size=1M size=1M, preallocation=metadata cluster_size=64k; do
    byre create -q -o "$list" a 1M
done
byre create -q -f qcow -o preallocation=off a 1M
byre create -q -f qcow a 0
cat a
echo
left d
