# Without this writing commands could do other than they say, or say other than
# QEMU does.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
printf abc | tee ours/pat >theirs/pat
both -c 'write 0 64k' -c 'read -P 0xcd 0 64k' -c 'w 100 200' -c 'write -P 0x5a 70000 3000' -c 'read -P 0x5a 70000 3000' a.qcow2
both -c 'write -s pat 0 10' -c 'read -v 0 10' -c 'write -s pat 5 2' -c 'read -v 0 10' a.qcow2
both -c 'write -z 0 512' -c 'write -zu 0 64k' -c 'write -zn 0 64k' -c 'read -P 0 0 64k' -c 'write -fz 0 512' -c 'write -f 0 512' a.qcow2
both -c 'write -c 128k 64k' -c 'read -P 0xcd 128k 64k' -c 'write 192k 64k' -c 'write -cz 192k 64k' -c map a.qcow2
both -c 'write -q 0 5' -c 'write -C 0 512' -c 'write -p 0 5' -c 'write 1M 0' -c 'write -z 0 0' a.qcow2
both -c 'writev -P 3 256k 4k 8k' -c 'readv -P 3 256k 4k 8k' -c 'writev 0 0' a.qcow2
both -c 'write 1M 512' -c 'write 1048000 4096' -c 'write -z 1M 512' -c 'write -c 1M 64k' -c 'write 2M 0' -c 'writev 1M 512' -c 'discard 1M 512' -c 'discard 2M 0' -c 'discard 0 2M' a.qcow2
both -c 'aio_write 1M 512' a.qcow2
both -c 'aio_write -P 9 0 4k 4k' -c aio_flush -c 'read -P 9 0 8k' a.qcow2
both -c 'aio_write -z 0 512' -c aio_flush -c 'aio_write -q 0 512' -c 'aio_write -C 0 512' -c aio_flush -c 'aio_write -i 0 5' a.qcow2
both -c 'discard 0 64k' -c 'read -P 0 0 64k' -c 'discard 100 200' -c 'discard -C 0 64k' -c 'discard -q 0 64k' -c 'd 0 0' a.qcow2
both -c 'flush' -c 'f' a.qcow2
both -d ignore -c 'write 512k 64k' -c 'discard 512k 64k' -c 'read -P 0xcd 512k 64k' a.qcow2
both -d off -c 'write -zu 512k 64k' a.qcow2
both -d unmap -c 'write 576k 64k' -c 'discard 576k 64k' -c 'read -P 0 576k 64k' a.qcow2
both -c 'truncate 3M' -c length -c 'truncate -m metadata 4M' -c 'truncate -m off 512k' -c l a.qcow2
both -r -c 'write 0 512' -c 'write x 5' -c 'write' -c 'discard 0 64k' -c flush -c 'truncate 2M' -c 'aio_write 0 512' -c length a.qcow2
qemu-img check -q ours/a.qcow2 && echo sound
qemu-img compare ours/a.qcow2 theirs/a.qcow2
