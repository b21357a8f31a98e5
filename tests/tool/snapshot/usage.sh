# Without this a mistyped command could do something else than was meant.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 1M
qemu-img create -q -f raw r 1M
qemu-img create -q -f qcow q 1M
qemu-img create -q -f qcow2 -o data_file=data d 1M
qemu-img create -q -f qcow2 -o refcount_bits=1 w 1M
qemu-io -c 'write 0 64k' w >/dev/null
byre snapshot
byre snapshot a b
byre snapshot -c
byre snapshot -l -c x a
byre snapshot -c x -c y a
byre snapshot -a x -d x a
byre snapshot --id a
byre snapshot --id -c x a
byre snapshot --output=xml a
byre snapshot -f qcow2 --image-opts driver=qcow2,file.filename=a
byre snapshot gone
byre snapshot -a nosuch a
byre snapshot -d nosuch a
byre snapshot -U -c x a
for image in r q d w; do
    byre snapshot -l $image
    byre snapshot -c x $image
done
long=$(printf '%0300d' 7)
byre snapshot -c $long a | sed 's/00000*7*/0.../g'
as_qemu_img snapshot -c $long a | sed 's/00000*7*/0.../g'
"$BYRE" snapshot --output=json a | grep -c "\"$(printf '%0255d' 0)\""
qemu-img check -q a
