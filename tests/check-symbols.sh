#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-symbols.sh BUILD [TREE]: libbyre.so exports the functions of byre.h, as
# libbyre.map lists them, and nothing else; and the library has no variable that
# two images could share.  Deleted, a private function could become a promise.
set -eu
build=$(cd "$1" && pwd)
cd "${2:-$(dirname "$0")/..}"
export LC_ALL=C

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

${CC:-cc} -E -P -DBYRE_API=BYRE_MARK -Iinclude include/byre.h |
    tr '\n' ' ' | tr ';' '\n' |
    sed -n 's/.*BYRE_MARK[^(]*\<\(byre_[a-z0-9_]*\) *(.*/\1/p' |
    sort >"$scratch/header"
tr -s ' ;\t' '\n' <lib/libbyre.map | grep '^byre_' | sort >"$scratch/map"
nm -D --defined-only "$build/lib/libbyre.so" |
    awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$scratch/library"
[ -s "$scratch/header" ] || { echo "no function found in byre.h" && exit 1; }

bad=0
diff "$scratch/header" "$scratch/map" ||
    { echo "byre.h (<) and lib/libbyre.map (>) differ" && bad=1; }
diff "$scratch/header" "$scratch/library" ||
    { echo "byre.h (<) and the exports of libbyre.so (>) differ" && bad=1; }

# What needs relocating (.data.rel.ro) is read-only once the program runs.
objdump -t "$build/lib/libbyre.a" >"$scratch/objects"
awk '
/^[0-9a-f]+ ......O / {
    section = $0
    sub(/^[0-9a-f]+ ......O /, "", section)
    sub(/[ \t].*/, "", section)
    if (section ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ &&
        section !~ /^\.data\.rel\.ro/) {
        printf "writable variable %s in %s\n", $NF, section
        bad = 1
    }
}
END { exit bad }
' "$scratch/objects" || bad=1
exit $bad
