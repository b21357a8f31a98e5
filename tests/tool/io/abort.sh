# Without this a crash that a test wants could be an orderly end, or the image be
# worse for it than the contract allows.
. "$TOOLS/io/common.inc"
ulimit -c 0
make_both -f qcow2 a.qcow2 1M
byre_io -t writeback -c 'write -P 1 0 64k' -c flush -c 'write -P 2 64k 64k' -c abort -c length a.qcow2 | grep -v Aborted
qemu-img check -q ours/a.qcow2 >check.txt 2>&1
case $? in
0 | 3) echo 'leaks at worst' ;;
*) cat check.txt ;;
esac
byre_io -r -c 'read -P 1 0 64k' a.qcow2
byre_io -c 'write -P 5 0 64k' -c 'sigraise 15' a.qcow2 | grep -v Terminated
byre_io -r -c 'read -P 5 0 64k' a.qcow2
