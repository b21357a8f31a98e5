# Without this a bitmap whose extension has no room in the header would be lost
# when the image closes.
. "$TOOLS/functions.sh"
"$BYRE" create -q -f raw b.raw 1M
name=$(printf './%.0s' $(seq 175))b.raw
"$BYRE" create -q -f qcow2 -o cluster_size=512 -b "$name" -F raw a.qcow2
"$BYRE" bitmap --add a.qcow2 one
echo "status $?"
"$BYRE" bitmap --list a.qcow2
"$BYRE" check a.qcow2
