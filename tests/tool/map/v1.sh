# Without this images of version 1 and raw files could be mapped wrong.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow a.qcow 1M
qemu-io -c 'write 64k 64k' a.qcow >/dev/null
byre map a.qcow
byre map --output=json a.qcow
printf '%1000s' '' >r.raw
byre map r.raw
byre map --output=json r.raw
