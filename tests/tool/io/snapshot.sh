# Without this -s could write to the image, or leave its overlay behind.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
mkdir tmp
export TMPDIR=$PWD/tmp
both -c 'write -P 1 0 128k' a.qcow2
sha256sum ours/a.qcow2 >before
both -s -c 'write -P 2 0 512' -c 'read -P 2 0 512' -c 'read -P 1 512 512' -c length -c 'truncate 2M' -c length a.qcow2
both -s -r -c 'read -P 1 0 512' -c 'write 0 512' a.qcow2
both -c 'open -sU a.qcow2' -c 'write -P 3 0 64k' -c 'read -P 3 0 64k'
byre_io -s -c 'write -P 4 0 5' -c 'reopen -r' -c 'read -P 4 0 5' -c 'write 0 5' -c 'reopen -w' -c 'write 0 5' -c 'read -P 0xcd 0 5' a.qcow2
sha256sum -c before
ls tmp
TMPDIR=/nowhere byre_io -s -c length a.qcow2
