# Without this the lines that scripts read could change: figures, dumps,
# patterns that do not match, reads past the end.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
make_both -f raw big.raw 6G
for folder in ours theirs; do
    python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)))' >$folder/bytes
done
both -c 'read 0 64k' -c 'read 0x200 0x10' -c 'read 1.5k 512' -c 'read 1b 16' -c 'r 5 20' a.qcow2
both -c 'read 1M 0' -c 'read 0 0' -c 'read -- 0 5' a.qcow2
both -c 'read 1M 512' a.qcow2
both -c 'read 1048000 4096' a.qcow2
both -c 'read 2M 0' a.qcow2
both -c 'readv 1M 512' -c 'aio_read 1M 512' a.qcow2
both -c 'aio_read 1M 512' a.qcow2
both -f raw -c 'read -v 0 256' -c 'read -v 3 20' -c 'readv -v 250 2 3' bytes
both -c 'read -C 0 512' -c 'read -Cv 0 20' -c 'read -q 0 5' -c 'read -qv 5 20' -c 'read -p 0 5' a.qcow2
both -f raw -c 'write 5G 5' -c 'read -v 5G 5' big.raw
both -c 'read -P 0 0 64k' a.qcow2
both -c 'read -P 010 0 16' a.qcow2
both -c 'read -q -P 1 0 16' a.qcow2
both -c 'read -P 1 -s 4 -l 4 16 16' a.qcow2
both -c 'read 0 5 -P 0 -q' -c 'read -P 0 -s 4 0 16' a.qcow2
both -c 'readv -P 5 0 4 5' -c 'readv 0 0' -c 'readv -C 0 512 4k' a.qcow2
both -c 'aio_read -P 5 0 4 5' a.qcow2
both -c 'aio_read -v 0 20' a.qcow2
both -c 'aio_read -i 0 5' -c aio_flush a.qcow2
