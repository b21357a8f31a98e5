# Without this the messages that callers search for could change.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
head -c 100 /dev/zero | tr '\0' x >z.qcow2
mkdir folder
byre info nothing.qcow2
as_qemu_img info nothing.qcow2
byre info -f qcow2 z.qcow2
byre info -f nosuch a.qcow2
byre info folder
byre info
byre info a.qcow2 b.qcow2
byre info --output=xml a.qcow2
byre info -t nosuch a.qcow2
byre info -t none a.qcow2 | sed -n 1,2p
byre info --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2
