# Without this QCOW version 1 could be worked on by hand otherwise than in QEMU.
. "$TOOLS/io/common.inc"
make_both -f qcow v1.qcow 5M
both -r -c info -c map -c length -c 'alloc 0' -c 'read 0 0' v1.qcow
both -c 'write 1M 512' -c map v1.qcow
both -c 'write -z 0 64k' -c 'read -P 0 0 64k' -c 'discard 0 64k' -c flush v1.qcow
both -c 'write -zu 1M 512' -c 'read -P 0 1M 512' v1.qcow
both -c 'write -c 2M 4k' -c 'read -P 0xcd 2M 4k' v1.qcow
byre_io -c 'truncate 6M' -c length v1.qcow | sed 's/^stderr: .*/stderr: .../'
