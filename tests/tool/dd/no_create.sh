# Without this -n could make the output anew, or leave old bytes in its part.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 s.qcow2 1M
qemu-io -c 'write -P 5 64k 64k' s.qcow2 >/dev/null
for format in raw qcow2; do
    qemu-img create -q -f $format o 4M
    qemu-io -f $format -c 'write -P 9 0 4M' o >/dev/null
    byre dd -n -O $format if=s.qcow2 of=o
    qemu-io -f $format -c 'read -P 0 0 64k' -c 'read -P 5 64k 64k' \
        -c 'read -P 0 128k 896k' -c 'read -P 9 1M 3M' o | grep -e ^read -e ^Pattern
done
qemu-img create -q -f raw o 100k
byre dd -n if=s.qcow2 of=o
byre dd -n if=s.qcow2 of=o isize=100k osize=1M
byre dd -n if=s.qcow2 of=gone
left gone
