# Without this depth, or what lies past the end of a backing file, could be
# shown otherwise than by qemu-img.
. "$TOOLS/functions.sh"
qemu-img create -q -f raw b0.raw 300k
qemu-img create -q -f qcow2 -b b0.raw -F raw b1.qcow2 1M
qemu-img create -q -f qcow2 -b b1.qcow2 -F qcow2 b2.qcow2 2M
qemu-io -c 'write 100k 4k' -f raw b0.raw >/dev/null
qemu-io -c 'write 512k 64k' b1.qcow2 >/dev/null
qemu-io -c 'write 1M 64k' -c 'write -z 0 64k' b2.qcow2 >/dev/null
byre map b2.qcow2
byre map --output=json b2.qcow2
qemu-img map --output=json b2.qcow2 >theirs
"$BYRE" map --output=json b2.qcow2 | sed 's/, "compressed": false//' |
    diff theirs - && echo same as qemu-img
qemu-img map b2.qcow2 >theirs
"$BYRE" map b2.qcow2 | diff theirs - && echo same as qemu-img
