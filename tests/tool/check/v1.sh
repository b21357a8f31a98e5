# Without this version 1, which qemu-img does not check, could stay unchecked.
. "$TOOLS/functions.sh"
printf '%65536s' '' | tr ' ' Z >d.raw
qemu-img convert -f raw -O qcow d.raw d.qcow
byre check d.qcow
byre check --output=json d.qcow
qemu-img convert -f raw -O qcow -c d.raw c.qcow
byre check c.qcow | sed "s,offset: .*,offset: N,"
truncate -s 20000 d.qcow
byre check d.qcow
byre check -r all d.qcow
