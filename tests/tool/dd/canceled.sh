# Without this an ended copy would leave half a disk that looks whole.
. "$TOOLS/functions.sh"
need crypto
# No file holds so much: what is deciphered of a hole is data.
qemu-img create -q -f qcow2 --object secret,id=s,data=x \
    -o encrypt.format=aes,encrypt.key-secret=s,preallocation=metadata \
    source.qcow2 8G
printf x >pass
for target in a.raw old.raw; do
    [ $target = a.raw ] || : >$target
    "$BYRE" dd --passphrase-file pass if=source.qcow2 of=$target bs=1M &
    for _ in $(seq 400); do
        [ -n "$(find $target -size +1024k 2>/dev/null)" ] && break
        sleep 0.05
    done
    kill -TERM $!
    { wait $!; } 2>/dev/null
    echo "exit $?"
    left $target
done
