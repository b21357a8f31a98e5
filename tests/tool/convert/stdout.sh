# Without this `convert FILE /dev/stdout | ...` could mix its own words, or
# nothing at all, into the disk.
. "$TOOLS/functions.sh"
make_data 300
qemu-img resize -q d.qcow2 1M
truncate -s 1M d.raw
"$BYRE" convert -f qcow2 -O raw d.qcow2 /dev/stdout | cmp - d.raw && echo same
"$QEMU_IMG" convert -f qcow2 -O raw d.qcow2 /dev/stdout | cmp - d.raw && echo same
"$BYRE" convert -p d.qcow2 /dev/stdout 2>progress | cmp - d.raw && echo same
tr '\r' '\n' <progress | sed -n '1p;/100.00/p'
mkfifo pipe
"$BYRE" convert d.qcow2 pipe &
cmp pipe d.raw && echo same
wait $! && echo done
