# Without this a failing map could look like an empty one.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
byre map
byre map a.qcow2 a.qcow2
byre map nothing
byre map --output=yaml a.qcow2
byre map --image-opts -f raw file.filename=a.qcow2
# An entry of the active L1 table that is not aligned.
l1=$(python3 -c "import struct; print(struct.unpack('>Q', open('a.qcow2','rb').read(48)[40:])[0])")
poke a.qcow2 $((l1 + 6)) '\002'
byre map a.qcow2
byre map --output=json a.qcow2
