# Without this an encrypted image could not be worked on by hand.
. "$TOOLS/io/common.inc"
make_filled_luks
mv l.qcow2 pass ours/
name=driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
byre_io --object secret,id=s0,file=pass --image-opts -c 'read -P 0x5a 128k 64k' -c 'write -P 3 130k 512' -c 'read -P 3 130k 512' $name
byre_io --object secret,id=s0,file=pass -c 'open -o driver=qcow2,encrypt.key-secret=s0 l.qcow2' -c 'read -P 3 130k 512'
byre_io -r -c length l.qcow2
