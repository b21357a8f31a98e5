# Without this wrong words could be taken, or the answer to them differ from what
# scripts look for.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
: >ours/empty
: >theirs/empty
for command in 'read' 'read 0' 'r 0' 'read 0 16 4' 'read x 5' 'read 0 x' 'read 1s 16' \
    'read 9E 512' 'read 0 99999999999999999999' 'read 0 3G' 'read -1 5' 'read 0 -5' \
    'read -Z 0 16' 'read -P' 'read 0 5 -P' 'read -P 300 0 16' 'read -P x 0 16' \
    'read -P -1 0 16' 'read -s 4 0 16' 'read -l 4 0 16' 'read -P 0 -s 40 0 16' \
    'read -P 0 -s 4 -l 40 0 16' 'read -P 0 -s -4 -l 4 16 16' 'read -P 0 -l x 0 16' \
    'read -b 0 500' 'read -b 1 512' 'read "0" 5' \
    'readv 0' 'readv 0 x' 'readv x 5' 'readv 0 512 x' 'readv 0 3G' 'readv 0 1G 1G' \
    'readv -P 256 0 1' 'aio_read 0' 'aio_read 0 5 x' \
    'write 0' 'write 0 3G' 'write -z 0 3G' 'write -zn 0 3G' 'write -bz 0 512' 'write -fc 64k 64k' \
    'write -fb 0 512' 'write -n 0 512' 'write -u 0 512' 'write -zP 3 0 512' \
    'write -s empty -P 3 0 512' 'write -s empty -z 0 512' 'write -s empty 0 10' \
    'write -s nofile 0 10' 'write -c 5 64k' 'write -c 0 5' 'write -P 0x1ff 0 5' \
    'write -P 0xffq 0 5' 'writev 0' 'writev 0 512 x' 'writev -Z 0 5' \
    'aio_write -u 0 512' 'aio_write -z 0 512 512' 'aio_write -z 0 x' 'aio_write -Z 0 5' \
    'discard 0' 'discard -z 0 5' 'discard x 5' 'discard 0 x' 'discard 0 3G' \
    'discard 0 2147483136' 'discard 0 2147483137' \
    'truncate' 'truncate x' 'truncate -Z 2M' 'truncate -m full 1M 2M' 'truncate -m foo 5M' \
    'length 3' 'map 3' 'info 3' 'flush 3' 'close 3' 'alloc' 'alloc x' 'alloc 0 x' 'alloc 0 1 2' \
    'sleep' 'sleep x' 'sleep 1k' 'sleep -5' 'sleep 1 2' 'sigraise' 'sigraise x' \
    'open' 'open -Z a' 'open a b' 'open -t foo a.qcow2' 'open -d foo a.qcow2' 'open -i foo a.qcow2' \
    'open a.qcow2' 'reopen x' 'reopen -Z' 'reopen -rw' 'reopen -c foo' \
    'help foo' 'help read x' 'foo' '#' '' ' ' '  length  '; do
    both -c "$command" a.qcow2
done
echo 'words that would color the terminal'
red=$(printf 'x\033[31m')
for command in "$red" "help $red" "read $red 5" "sleep $red" "write -P $red 0 5" \
    "write -s $red 0 5" "open $red"; do
    byre_io -c "$command" a.qcow2
done | tr '\033' '~' | grep -c '~.*$' | sed 's/^7$/only in the seven commands/'
