# Without this a full disk behind stdout would be reported as success.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
"$BYRE" info a.qcow2 >/dev/full
echo $?
"$BYRE" map --output=json a.qcow2 >/dev/full
echo $?
"$BYRE" --help >/dev/full
echo $?
