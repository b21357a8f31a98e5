# SPDX-License-Identifier: MIT
# What the cases share.  Sourced with: . "$TOOLS/functions.sh"

# Runs the tool with the arguments and shows them without its path.
byre() {
    echo "\$ byre $*"
    "$BYRE" "$@" 2>&1
    status=$?
    [ $status -eq 0 ] || echo "(exit $status)"
}

# The same under the name qemu-img.
as_qemu_img() {
    echo "\$ qemu-img $*"
    "$QEMU_IMG" "$@" 2>&1
    status=$?
    [ $status -eq 0 ] || echo "(exit $status)"
}

# Replaces what differs from run to run in the output of info: space on the file
# system, dates.
mask_info() {
    sed -e 's/^\( *disk size:\) .*/\1 SIZE/' \
        -e 's/"actual-size": [0-9]*/"actual-size": N/' \
        -e 's/"date-\(n*sec\)": [0-9]*/"date-\1": N/' \
        -e 's/20[0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9:]\{8\}/YYYY-MM-DD hh:mm:ss/'
}

# Ends the case as skipped.
skip() {
    echo "$*"
    exit 77
}

# Skips the case if the library was built without an optional part.
need() {
    "$BYRE" --version | grep -q "^features:.*\b$1\b" || skip "built without $1"
}

# Tells of a file that should not be there.
left() {
    [ ! -e "$1" ] || echo "$1 is there"
}

# Writes the bytes of a printf format at an offset of a file.
poke() {
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# The overlay o.qcow2 on base.raw that the recorded outputs of QEMU 11 show: the
# last cluster that is written at 1 MiB ends in a hole of the file.
make_overlay() {
    qemu-img create -q -f raw base.raw 3M
    qemu-img create -q -f qcow2 -b base.raw -F raw o.qcow2
    qemu-io -c 'write 0 64k' -c 'write 1M 100k' -c 'write -z 2M 64k' \
        o.qcow2 >/dev/null
    fallocate -p -o $((0x60000 + 100 * 1024)) -l 28k o.qcow2 ||
        skip 'this file system has no holes'
}

# The image l.qcow2 of 1 MiB encrypted with LUKS, the passphrase in pass.  The
# real qemu-img at times cannot measure its own speed on virtual machines.
make_luks() {
    need crypto
    printf 'open sesame' >pass
    for _ in 1 2 3 4 5 6 7 8; do
        qemu-img create -q -f qcow2 --object secret,id=s0,file=pass \
            -o encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10 \
            l.qcow2 1M 2>/dev/null && return
    done
    skip 'qemu-img cannot create a LUKS image here'
}

# The same image and its disk: 64 KiB of the letter Z at 128 KiB.
make_filled_luks() {
    make_luks
    qemu-io --object secret,id=s0,file=pass --image-opts \
        -c 'write -P 0x5a 128k 64k' \
        driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0 >/dev/null
    truncate -s 1M l.raw
    printf '%65536s' '' | tr ' ' Z |
        dd of=l.raw bs=64k seek=2 conv=notrunc status=none
}

# Spoils the stream of the second cluster of an image of one compressed L2 table.
spoil() {
    python3 - "$1" <<'END'
import struct
import sys
with open(sys.argv[1], 'r+b') as image:
    header = image.read(104)
    image.seek(struct.unpack('>Q', header[40:48])[0])
    l2 = struct.unpack('>Q', image.read(8))[0] & 0x00fffffffffffe00
    image.seek(l2 + 8)
    entry = struct.unpack('>Q', image.read(8))[0]
    image.seek(entry & ((1 << 54) - 1))
    image.write(b'\xff' * 64)
END
}

# Turns the extension that records the backing format into an unknown one.
forget_backing_format() {
    offset=$(LC_ALL=C grep -obUaP '\xe2\x79\x2a\xca' "$1" | sed -n '1s/:.*//p')
    poke "$1" "$offset" '\001\002\003\004'
}

# An image of data, d.qcow2, and its disk in d.raw: $1 KiB, none of it zero.
make_data() {
    python3 -c "import sys
sys.stdout.buffer.write(bytes((i * 7 + i // 251) % 255 + 1 for i in range(1024)) * $1)" >d.raw
    qemu-img convert -f raw -O qcow2 d.raw d.qcow2
}
