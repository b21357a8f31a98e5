# Without this the name of a backing file relative to its overlay could be shown
# as if it were relative to the working directory.
. "$TOOLS/functions.sh"
mkdir sub
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f qcow2 -u -b ../base.raw -F raw sub/o.qcow2 1M
byre info sub/o.qcow2 | grep backing
byre info --output=json sub/o.qcow2 | grep backing
byre info 'json:{"driver":"qcow2","file.filename":"sub/o.qcow2"}' | grep -E 'image|backing'
