# Without this the programs that read the progress would raise an error.
. "$TOOLS/functions.sh"
make_data 1000
"$BYRE" compare -p d.qcow2 d.raw | tr '\r' '\n' | sed -n '1p;$p'
"$BYRE" compare -p d.qcow2 d.raw | tr '\r' '\n' | grep -c 'identical'
"$BYRE" compare -p d.qcow2 d.raw | tr '\r' '\n' | grep '100.00' | uniq
"$BYRE" compare -p -q d.qcow2 d.raw
"$QEMU_IMG" compare -p d.qcow2 d.raw | tail -c 24
