# Without this the data file that an image names could be opened for a check, or
# a missing one be taken for damage.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o data_file=d.raw d.qcow2 1M
qemu-io -c 'write 0 64k' d.qcow2 >/dev/null
byre check d.qcow2
rm d.raw
byre check d.qcow2
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 o.qcow2
rm b.qcow2
byre check o.qcow2
