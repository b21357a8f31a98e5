# Without this --salvage could miss what a cut file or a lost one held, and take
# it for zeroes, or stop at tables that do not matter for the disk.
. "$TOOLS/functions.sh"
salvage() {
    echo "= $1"
    "$BYRE" convert --salvage x.qcow2 x.raw 2>&1
    echo "status $?"
}
kept() { # OFFSET LENGTH BYTE
    qemu-io -f raw -c "read -q -P $3 $1 $2" x.raw
}

qemu-img create -q -f raw base.raw 4M
qemu-io -f raw -c 'write -q -P 5 0 4M' base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw x.qcow2 6M
qemu-io -c 'write -q -P 6 1M 1M' x.qcow2
mv base.raw lost.raw
salvage 'a missing backing file'
kept 1M 1M 6

qemu-img create -q -f qcow2 a.qcow2 600M
qemu-io -c 'write -q -P 1 0 2M' -c 'write -q -P 2 550M 2M' a.qcow2
for bytes in 3014656 2424832 300000 200000 196608; do
    cp a.qcow2 x.qcow2
    truncate -s $bytes x.qcow2
    salvage "cut to $bytes bytes"
done

cp a.qcow2 x.qcow2
printf '\200\0\0\0\0\4\2\0' |
    dd of=x.qcow2 bs=1 seek=196608 conv=notrunc status=none
salvage 'an L1 entry'
kept 550M 2M 2
cp a.qcow2 x.qcow2
printf '\200\0\0\0\0\5\2\0' |
    dd of=x.qcow2 bs=1 seek=262152 conv=notrunc status=none
salvage 'an L2 entry'
kept 0 64k 1
kept 128k 1920k 1

cp a.qcow2 x.qcow2
qemu-img snapshot -c one x.qcow2
qemu-img bitmap --add x.qcow2 b
python3 - <<'END'
import struct
with open('x.qcow2', 'r+b') as file:
    data = bytearray(file.read())
    table = struct.unpack('>Q', data[64:72])[0]
    data[table + 36:table + 40] = b'\xff' * 4
    bitmaps = data.find(b'\x23\x85\x28\x75')
    data[bitmaps + 8:bitmaps + 12] = b'\0\0\xff\xff'
    refcounts = struct.unpack('>Q', data[48:56])[0]
    data[refcounts:refcounts + 8] = b'\xff' * 8
    file.seek(0)
    file.write(data)
END
salvage 'snapshots, bitmaps and refcounts'
kept 0 2M 1
kept 550M 2M 2
cp a.qcow2 x.qcow2
salvage nothing

echo '= as JSON'
truncate -s 300000 x.qcow2
"$BYRE" convert --salvage --output=json x.qcow2 x.raw 2>/dev/null |
    sed -n '/salvaged/,$p'
