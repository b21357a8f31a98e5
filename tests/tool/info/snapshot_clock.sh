# Without this clocks, sizes and absent instruction counts of snapshots could be
# shown wrong.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img snapshot -c 'a name of more than sixteen' a.qcow2
python3 - <<'END'
import struct
with open('a.qcow2', 'r+b') as image:
    header = image.read(104)
    offset = struct.unpack('>Q', header[64:72])[0]
    image.seek(offset)
    entry = bytearray(image.read(40 + 24 + 1 + 27))
    entry[24:32] = struct.pack('>Q', (12345 * 3600 + 754) * 10**9 + 987654321)
    entry[36:40] = struct.pack('>I', 16)            # no instruction count
    entry[40:48] = struct.pack('>Q', 123456789)     # size of the VM state
    del entry[56:64]
    image.seek(offset)
    image.write(entry + bytes(8))
END
byre info a.qcow2 | sed -n '/Snapshot/,/Format/p' | mask_info
byre info --output=json a.qcow2 | sed -n '/snapshots/,/]/p' | mask_info
qemu-img info --output=json a.qcow2 >theirs
"$BYRE" info --output=json a.qcow2 >ours
python3 - <<'END'
import json
same = json.load(open('ours'))['snapshots'] == json.load(open('theirs'))['snapshots']
print('same as qemu-img' if same else 'differs from qemu-img')
END
