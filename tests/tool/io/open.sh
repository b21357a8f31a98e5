# Without this an image could be written that was opened for reading, or be lost
# between close and open.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
both -c length
both -c read -c map -c info -c close -c flush -c 'truncate 5' -c 'reopen -r' -c aio_flush
both nofile
both -t foo a.qcow2
both -d foo a.qcow2
both -i foo a.qcow2
both --image-opts -f qcow2 a.qcow2
both -U -c length a.qcow2
both -U -r -c length a.qcow2
both --image-opts -c length driver=qcow2,file.filename=a.qcow2
both -n -m -c length a.qcow2
both -m -i threads -t writeback -n -k -c 'read 0 512' a.qcow2
for mode in none off writeback writethrough directsync unsafe; do
    both -t $mode -c 'write -P 7 0 4k' -c 'read -P 7 0 4k' a.qcow2
done
both -c 'open a.qcow2' -c length -c 'open a.qcow2' -c close -c close
both -c 'open -r a.qcow2' -c 'write 0 5' -c 'read 0 5'
both -c 'open -o driver=qcow2 a.qcow2' -c length
both -c 'open -o driver=qcow2,file.filename=a.qcow2' -c length
both -c 'open -o driver=raw a.qcow2' -c 'read -v 0 4'
both -c 'open nofile' -c length
both -c 'open -n -k a.qcow2' -c l -c c -c 'open -t none -d unmap a.qcow2' -c l
both -r -c 'read -P 7 0 512' -c 'reopen -w' -c 'write 0 5' -c 'reopen -r' -c 'write 0 5' \
    -c reopen -c 'write 0 5' -c 'reopen -c none' -c 'read 0 5' -c 'reopen -w -c unsafe' -c 'write 0 5' a.qcow2
both -c close -c 'open a.qcow2' -c length a.qcow2
cp ours/a.qcow2 "ours/x,y.qcow2" && cp theirs/a.qcow2 "theirs/x,y.qcow2"
both -c 'open -o driver=qcow2 x,y.qcow2' -c length
