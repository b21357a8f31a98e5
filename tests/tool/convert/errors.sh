# Without this the messages that callers search for could change.
. "$TOOLS/functions.sh"
make_data 64
byre convert
byre convert d.qcow2
byre convert nothing y
as_qemu_img convert -O raw nothing y
byre convert -O nosuch d.qcow2 y
byre convert -f nosuch d.qcow2 y
byre convert --image-opts -f raw file.filename=d.raw y
byre convert --image-opts driver=nosuch,file.filename=d.raw y
left y
