# Without this neighbours could stay apart where one answer of the library ends,
# so that the output would depend on its buffers.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o cluster_size=512 a.qcow2 2M
qemu-io -c 'write 0 700k' -c 'write 1M 1M' a.qcow2 >/dev/null
qemu-img map --output=json a.qcow2 >theirs
"$BYRE" map --output=json a.qcow2 | sed 's/, "compressed": false//' |
    diff theirs - && echo same as qemu-img
# Every other cluster: more extents than one call gives.
qemu-img create -q -f qcow2 -o cluster_size=512 b.qcow2 1M
python3 -c "
for i in range(0, 2048, 2): print('write %d 512' % (i * 512))" |
    qemu-io b.qcow2 >/dev/null
qemu-img map --output=json b.qcow2 >theirs
wc -l <theirs
"$BYRE" map --output=json b.qcow2 | sed 's/, "compressed": false//' |
    diff theirs - && echo same as qemu-img
