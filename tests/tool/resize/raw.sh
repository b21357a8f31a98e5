# Without this a raw file could end elsewhere than its disk.
. "$TOOLS/functions.sh"
printf 'some bytes' >a
truncate -s 1M a
byre resize -f raw a 2M
wc -c <a
byre resize -q a +1000001
qemu-img info a | grep ^virtual
byre resize -f raw --shrink a 1M
wc -c <a
head -c 10 a
echo
byre resize -f raw a 2M --preallocation=full
byre resize -f raw --preallocation=falloc a 4M
[ $(($(stat -c '%b*%B' a))) -ge 3145728 ] && echo reserved
byre resize -f raw --preallocation=metadata a 8M
wc -c <a
