# Without this an image could be made under another name than was meant, or what
# is left of a failure be taken for one.
. "$TOOLS/functions.sh"
byre create -f qcow2 'file:a b' 1M
byre create -q -f qcow2 ./b:c 1M
byre create -q -f qcow2 file:c:d 1M
ls
byre create -f qcow2 'json:{"driver":"qcow2","file.filename":"e"}' 1M
byre create -f qcow2 nbd:localhost:10809 1M
byre create -q -f qcow2 nodir/e 1M
byre create -q -f qcow2 . 1M
byre create -q -f qcow2 '' 1M
ls
echo 'in the place of another'
head -c 300000 /dev/zero | tr '\0' Z >big
byre create -q -f qcow2 big 1M
qemu-img check big | head -1
qemu-io -c 'read -P 0 0 1M' big | head -1
byre create -q big 10
wc -c <big
ln -s big link
byre create -q -f qcow2 link 2M
qemu-img info big | grep ^virtual
[ -L link ] && echo 'still a link'
echo 'a name that would color the terminal, or forge a line'
byre create -f qcow2 -b "$(printf 'b\033[31m')" -F raw -u "$(printf 'c\033[31m\nForged')" 1M | tail -1
