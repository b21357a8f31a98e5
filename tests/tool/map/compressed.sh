# Without this compressed clusters could get an offset that has none of their
# bytes, and the human form could leave them out without saying so.
. "$TOOLS/functions.sh"
make_overlay
qemu-img convert -O qcow2 -c o.qcow2 c.qcow2
byre map c.qcow2
byre map --output=json c.qcow2
