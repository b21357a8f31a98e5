# Without this a passphrase that comes through a pipe would open the first image
# only, and the second would be told that it is wrong.
. "$TOOLS/functions.sh"
make_filled_luks
byre compare --passphrase-file /dev/stdin l.qcow2 l.qcow2 <pass
cat pass | byre compare --passphrase-file /dev/stdin l.qcow2 l.qcow2
cat pass | byre convert --passphrase-file /dev/stdin l.qcow2 l.qcow2 a.raw
cat l.raw l.raw | cmp - a.raw && echo same
# An image that names its secret is opened with that one.
byre compare --passphrase-file gone --object secret,id=s0,file=pass --image-opts \
    driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 \
    driver=raw,file.filename=l.raw
