#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# demo.sh BUILD: a real disk goes into a compressed image and comes back.  Works
# in ./demo and needs no root; it may be run again at any time.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

top=$(cd "$(dirname "$0")/.." && pwd)
byre=$(cd "$1" && pwd)/tool/byre
files_mib=64
disk_mib=96

say() {
    printf '\n== %s\n' "$*"
}

# Shows a command as one would type it, and runs it.
show() {
    printf '$ %s\n' "${*//$byre/byre}"
    "$@"
}

# The first files_mib MiB of the files that every machine has.
gather_files() {
    mkdir files
    { find /usr/share /usr/bin /usr/lib -xdev -type f -size -4096k -readable \
        -printf '%s\t%p\0' 2>/dev/null || :; } |
        awk -v limit=$((files_mib * 1048576)) 'BEGIN { RS = ORS = "\0" }
            (used += $1 + 4096) < limit { sub(/^[^\t]*\t/, ""); print }' |
        xargs -0 cp --parents --no-preserve=ownership -t files
}

rm -rf "$top/demo"
mkdir "$top/demo"
cd "$top/demo"

say "A disk: ext4, with files of this machine"
gather_files
show truncate -s ${disk_mib}M disk.raw
show mke2fs -q -t ext4 -d files disk.raw
rm -rf files

say "The same disk as a compressed QCOW2 image"
show "$byre" convert -p -c -f raw -O qcow2 disk.raw disk.qcow2

say "What is in the image?"
show "$byre" info disk.qcow2

say "Where is each part of the disk?  (the first lines)"
echo '$ byre map --output=json disk.qcow2 | head -n 4'
"$byre" map --output=json disk.qcow2 >map.json
head -n 4 map.json

say "Back to a raw disk"
show "$byre" convert -p -O raw disk.qcow2 back.raw

say "Are the bytes equal, and is the file system whole?"
show cmp disk.raw back.raw
show e2fsck -fn back.raw
show "$byre" compare disk.qcow2 disk.raw

say "A disk of a terabyte on top of it, a little of it written"
show "$byre" create -f qcow2 -b disk.qcow2 -F qcow2 overlay.qcow2 1T
show "$byre" io -c 'write -P 0x42 700G 1M' -c 'read -P 0x42 700G 1M' overlay.qcow2
show ls -sh overlay.qcow2

cat <<END

The disk came back byte for byte.  Everything is in demo/; try next

  ${byre#"$top/"} info --output=json demo/disk.qcow2
  ${byre#"$top/"} convert -O raw demo/disk.qcow2 /dev/stdout | sha256sum
  ${byre#"$top/"} --help
  make test

or give it an image of your own: every QCOW image can be read, and written.
END
