# Without this encrypted bytes could be given as if they lay in the file as they
# are read.
. "$TOOLS/functions.sh"
make_filled_luks
opts=driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
byre map --object secret,id=s0,file=pass --image-opts $opts
byre map --output=json --object secret,id=s0,file=pass --image-opts $opts
byre map --output=json --passphrase-file pass l.qcow2
byre map --output=json l.qcow2
as_qemu_img map --output=json l.qcow2
