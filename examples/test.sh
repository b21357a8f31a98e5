#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Without this test the examples, which the README quotes, could stop working:
# the readers must give the same bytes as qemu-img for each version of the
# format, and what the writers make must hold what they wrote.
#
#     test.sh READ_DISK VMM_BLOCK WRITE_DISK MEMORY_DISK
set -u

read_disk=$(realpath "$1")
vmm_block=$(realpath "$2")
write_disk=$(realpath "$3")
memory_disk=$(realpath "$4")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
count=0

report() { # STATUS NAME
    count=$((count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $count - $2"
    else
        echo "not ok $count - $2"
    fi
}

skip() { # NAME REASON
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# A disk with data, zeroes, and an end inside a cluster.
make_disk() {
    seq 1 200000 >disk.raw
    truncate -s 3M disk.raw
    seq 300000 350000 >>disk.raw
    truncate -s 4000256 disk.raw
}

make_image() { # NAME: makes NAME.img and NAME.raw, its disk
    case $1 in
    v1) qemu-img convert -O qcow disk.raw v1.img ;;
    v1-compressed)
        # qemu-img 7.2 writes it all, and then reports failure without a word.
        qemu-img convert -c -O qcow disk.raw v1-compressed.img
        [ -f v1-compressed.img ]
        ;;
    v2) qemu-img convert -O qcow2 -o compat=0.10 disk.raw v2.img ;;
    v3) qemu-img convert -O qcow2 -o compat=1.1 disk.raw v3.img ;;
    v3-compressed) qemu-img convert -c -O qcow2 disk.raw v3-compressed.img ;;
    v3-overlay)
        qemu-img create -q -f qcow2 -b disk.raw -F raw v3-overlay.img &&
            qemu-io -f qcow2 -c 'write -P 7 100k 300k' v3-overlay.img >/dev/null
        ;;
    esac && qemu-img convert -O raw "$1.img" "$1.raw"
}

# The lengths of the listed ranges, joined without gap, are the whole disk.
map_covers() { # LIST SIZE
    awk -v size="$2" '
        NR == 1 { next }
        $1 != end { bad = 1 }
        { end = $1 + $2 }
        END { exit bad || end != size }' "$1"
}

check_raw() {
    "$read_disk" disk.raw >out && cmp out disk.raw
    report $? "read_disk: raw"
    "$vmm_block" disk.raw out >list && cmp out disk.raw &&
        map_covers list "$(stat -c %s disk.raw)"
    report $? "vmm_block: raw"
}

check_missing_file() {
    "$read_disk" no-such-file >out 2>message
    [ $? -eq 1 ] && [ ! -s out ] && [ "$(wc -l <message)" -eq 1 ]
    report $? "read_disk: a missing file is one line and exit code 1"
    "$vmm_block" no-such-file >out 2>message
    [ $? -eq 1 ] && [ ! -s out ] && [ "$(wc -l <message)" -eq 1 ]
    report $? "vmm_block: a missing file is one line and exit code 1"
}

check_image() { # NAME CLASS: the class of cluster that must be listed
    make_image "$1" || { echo "Bail out! cannot make $1"; exit 1; }
    "$read_disk" "$1.img" >out && cmp out "$1.raw"
    report $? "read_disk: $1"
    "$vmm_block" "$1.img" out >list && cmp out "$1.raw" &&
        map_covers list "$(stat -c %s "$1.raw")" && grep -q " $2 " list
    report $? "vmm_block: $1"
}

check_overlay() {
    make_image v3-overlay || { echo "Bail out! cannot make v3-overlay"; exit 1; }
    "$read_disk" v3-overlay.img >out && cmp out v3-overlay.raw
    report $? "read_disk: v3-overlay"
    "$vmm_block" v3-overlay.img out >list 2>message
    [ $? -eq 1 ] && [ "$(wc -l <message)" -eq 1 ]
    report $? "vmm_block: an image that names a backing file is refused"
}

check_writing() {
    "$write_disk" made.img >out && grep -qx "kept, whatever happens next" out
    report $? "write_disk: what was written is read back"
    "$write_disk" no-such-folder/made.img >out 2>message
    [ $? -eq 1 ] && [ ! -s out ] && [ "$(wc -l <message)" -eq 1 ]
    report $? "write_disk: a missing folder is one line and exit code 1"
    "$memory_disk" >out && awk '{ exit !($1 == 2 ^ 40 && $6 < 2 ^ 22) }' out
    report $? "memory_disk: a large disk takes little memory"
}

# QEMU finds the bytes where they were written, and no fault.
check_written() {
    qemu-io -r -f qcow2 -c 'read -v 1234560 32' made.img >out &&
        grep -q 'kept..wha' out && qemu-img check -q made.img
    report $? "write_disk: QEMU reads it"
}

echo 1..20
make_disk
check_raw
check_missing_file
check_writing
if command -v qemu-img >/dev/null && command -v qemu-io >/dev/null; then
    check_image v1 normal
    check_image v1-compressed compressed
    check_image v2 normal
    check_image v3 normal
    check_image v3-compressed compressed
    check_overlay
    check_written
else
    for name in v1 v1-compressed v2 v3 v3-compressed v3-overlay; do
        skip "read_disk: $name" "qemu-img is not installed"
        skip "vmm_block: $name" "qemu-img is not installed"
    done
    skip "write_disk: QEMU reads it" "qemu-img is not installed"
fi
