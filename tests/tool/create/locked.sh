# Without this an image that another program uses could be emptied or resized.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 1M
qemu-img create -q -f raw r 1M
mkfifo go
# The line is printed once the images are open, and so locked.
{ echo 'length'; cat go; } | qemu-io a >opened &
{ until [ -s opened ]; do sleep 0.05; done; }
named() {
    "$BYRE" "$@" 2>&1 | sed -e 's/process [0-9][0-9]*/process N/' -e 's/^/  /'
}
named create -q -f qcow2 a 2M
named create -q a 2M
named resize a 2M
named dd if=r of=a
named convert r a
named create -q -f qcow2 -b a -F qcow2 o
echo quit >go
wait
qemu-img info a | grep ^virtual
