# Without this a message could be written into the target, which had been given
# the number of a standard descriptor that was closed.
. "$TOOLS/functions.sh"
make_data 4096
qemu-img convert -O raw d.qcow2 want.raw
(
    exec </dev/null >&- 2>&-
    "$BYRE" convert -p d.qcow2 out.raw
)
cmp want.raw out.raw && echo 'only the disk is in the target'
(
    exec <&- >&- 2>&-
    "$BYRE" convert nothing.qcow2 none.raw
)
left none.raw
