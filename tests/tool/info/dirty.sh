# Without this a dirty or corrupt image would look healthy.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 1M
poke a.qcow2 79 '\003'
byre info a.qcow2 | grep -E 'shut down|corrupt|lazy'
byre info --output=json a.qcow2 | grep -E '"corrupt"|lazy|^    "dirty'
