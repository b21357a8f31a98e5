# Without this the space of a grown part could be missing when it is needed.
. "$TOOLS/functions.sh"
for mode in off metadata falloc full; do
    qemu-img create -q -f qcow2 a 64k
    qemu-io -c 'write 0 64k' a >/dev/null
    byre resize --preallocation=$mode a 4M
    qemu-img info a | grep ^virtual
    qemu-img check -q a || echo "(check $?)"
    [ $(($(stat -c '%b*%B' a))) -ge 4128768 ] && echo reserved
    qemu-img map --output=json a | grep -q '"present": false' ||
        echo 'all is allocated'
    rm a
done
