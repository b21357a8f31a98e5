# Without this a failed conversion would leave a file that looks like a result.
. "$TOOLS/functions.sh"
make_data 256
qemu-img convert -c -O qcow2 d.raw c.qcow2
spoil c.qcow2
"$BYRE" convert c.qcow2 a.raw 2>message
echo $?
wc -l <message
left a.raw
printf 'old bytes' >a.raw
"$BYRE" convert nothing a.raw
cat a.raw
echo
"$BYRE" convert d.qcow2 no/such/folder/a.raw 2>&1 |
    sed 's/.*\(No such file or directory\)$/... \1/'
