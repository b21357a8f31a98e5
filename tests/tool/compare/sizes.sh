# Without this disks of different sizes could be told equal without a word, or
# zeroes behind the shorter one be told a difference.
. "$TOOLS/functions.sh"
make_data 64
qemu-img convert -f raw -O qcow2 d.raw long.qcow2
qemu-img resize -q long.qcow2 1M
byre compare d.qcow2 long.qcow2
byre compare long.qcow2 d.qcow2
byre compare -q d.qcow2 long.qcow2
byre compare -s d.qcow2 long.qcow2
byre compare -s -q d.qcow2 long.qcow2
qemu-io -c 'write -P 1 500k 1k' long.qcow2 >/dev/null
byre compare d.qcow2 long.qcow2
qemu-io -c 'write -P 1 5k 1k' long.qcow2 >/dev/null
byre compare d.qcow2 long.qcow2
