# Without this an image could be emptied though nothing was committed.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -q -P 3 128k 64k' top.qcow2
byre commit
byre commit base.qcow2
byre commit -b nothing top.qcow2
byre commit -b top.qcow2 top.qcow2
byre commit -t fast top.qcow2
byre commit nothing.qcow2
byre commit --image-opts -f qcow2 driver=qcow2,file.filename=top.qcow2
mkfifo go
# The line is printed once the image is open, and so locked.
{ echo 'length'; cat go; } | qemu-io -r base.qcow2 >opened &
{ until [ -s opened ]; do sleep 0.05; done; }
byre commit top.qcow2 | sed 's/process [0-9][0-9]*/process N/'
echo quit >go
wait
qemu-io -r -c 'read -q -P 3 128k 64k' top.qcow2
qemu-img map --output=json top.qcow2 | grep -c '"depth": 0'
