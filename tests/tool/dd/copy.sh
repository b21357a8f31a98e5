# Without this dd could copy other bytes than qemu-img's dd.
. "$TOOLS/functions.sh"
make_data 64
truncate -s 120000 d.raw
same() {
    echo "dd $*"
    rm -f ours theirs
    "$BYRE" dd "$@" of=ours 2>&1
    qemu-img dd "$@" of=theirs 2>&1 | sed 's/^qemu-img: /byre: /'
    cmp ours theirs && wc -c <ours
}
for operands in '' bs=1000 'bs=1000 count=3' 'bs=1000 skip=3' 'bs=1000 skip=119' \
    'bs=1000 skip=130' 'bs=64k count=1' count=0 count=1M 'skip=1k bs=1 count=7' \
    'bs=1.5k count=1' 'count=4 skip=1'; do
    same -f raw if=d.raw $operands
done
same -f qcow2 if=d.qcow2 bs=4k skip=1 count=9
same if=d.qcow2 count=1 if=d.raw
same --image-opts if=driver=qcow2,file.filename=d.qcow2 bs=512 skip=127
same -U if=d.qcow2 bs=256k count=1
