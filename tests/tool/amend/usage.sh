# Without this a mistake on the command line could change an image, or say
# nothing of why it was refused.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 1M
before=$(sha256sum a)
byre amend
byre amend a
byre amend -o compat=1.1
byre amend -o compat=1.1 a b
byre amend -o ,compat=1.1 a
byre amend -o compat=3 a
byre amend -o nosuch=1 a
for option in cluster_size=4k preallocation=full extended_l2=on \
    compression_type=zstd encrypt.format=luks encryption=on; do
    byre amend -o $option a
done
byre amend -o lazy_refcounts=maybe a
byre amend -o refcount_bits=3 a
byre amend -o refcount_bits=x a
byre amend -o refcount_bits=4294967304 a
byre amend -o size=1001 a
byre amend -o data_file=d a
byre amend -o data_file_raw=on a
byre amend -o backing_file=b a
byre amend -o backing_fmt=raw a
byre amend -t nosuch -o compat=1.1 a
byre amend --image-opts -f qcow2 -o compat=1.1 a
byre amend -f nosuch -o compat=1.1 a
byre amend -o compat=1.1 gone
byre amend -o encrypt.state=active a
byre amend -o encrypt.state=active,encrypt.new-secret=s a
byre amend --object secret,id=s,data=x -o encrypt.state=active,encrypt.new-secret=s a
byre amend -o encrypt.keyslot=1 a
byre amend -o encrypt.state=none a
byre amend -o encrypt.state=inactive a
byre amend -o encrypt.state=inactive,encrypt.keyslot=0,encrypt.old-secret=s a
byre amend -o encrypt.state=inactive,encrypt.keyslot=8 a
byre amend -o encrypt.state=inactive,encrypt.keyslot=0,encrypt.new-secret=s a
byre amend -o encrypt.state=inactive,encrypt.keyslot=0,encrypt.iter-time=9 a
byre amend -o encrypt.state=active,encrypt.new-secret=s,encrypt.old-secret=s a
[ "$before" = "$(sha256sum a)" ] || echo 'the image has changed'
qemu-img create -q -f raw r 1M
byre amend -f raw -o size=2M r
qemu-img create -q -f qcow q 1M
byre amend -f qcow -o compat=1.1 q
