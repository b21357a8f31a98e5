# Without this callers could not tell a difference from a failure, and not what
# failed.
. "$TOOLS/functions.sh"
make_data 256
byre compare nothing d.raw
byre compare d.raw nothing
byre compare -f nosuch d.raw d.raw
byre compare -T nosuch d.raw d.raw
byre compare --image-opts -F raw file.filename=d.raw file.filename=d.raw
byre compare -f qcow2 d.raw d.raw
# 4: the stream of the second compressed cluster is spoiled.
qemu-img convert -c -O qcow2 d.raw c.qcow2
spoil c.qcow2
for order in 'c.qcow2 d.raw' 'd.raw c.qcow2'; do
    "$BYRE" compare $order 2>message
    echo "$? $(wc -l <message)"
done
# 3: the entry of the L1 table is not aligned.
l1=$(python3 -c "import struct; print(struct.unpack('>Q', open('c.qcow2','rb').read(48)[40:])[0])")
poke c.qcow2 $((l1 + 6)) '\002'
for order in 'c.qcow2 d.raw' 'd.raw c.qcow2'; do
    "$BYRE" compare $order 2>message
    echo "$? $(wc -l <message)"
done
