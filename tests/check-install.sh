#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check-install.sh BUILD [TREE]: what `meson install` puts down is whole, and a
# program that knows only pkg-config can be built and run on it.  Deleted, a
# header, library or .pc file could go missing and no test would see it.
set -euo pipefail
build=$(cd "$1" && pwd)
cd "${2:-$(dirname "$0")/..}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root

meson install -C "$build" --no-rebuild --quiet --destdir "$root" >/dev/null
prefix=$root$(meson introspect --buildoptions "$build" | python3 -c '
import json, sys
print({o["name"]: o["value"] for o in json.load(sys.stdin)}["prefix"])')

find_one() {
    local found
    found=$(find "$prefix" -name "$1" | head -n 1)
    [ -n "$found" ] || { echo "$1 was not installed" >&2 && exit 1; }
    echo "$found"
}

library=$(find_one libbyre.so)
find_one libbyre.so.0 >/dev/null
find_one libbyre.a >/dev/null
pc=$(find_one byre.pc)
headers=$(find "$prefix/include" -type f -printf '%f ')
[ "$headers" = "byre.h " ] ||
    { echo "installed headers: $headers" && exit 1; }

export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root
export LD_LIBRARY_PATH=${library%/*}

compile() {
    ${CC:-cc} -std=gnu99 -Wall -Wextra -Werror "$@"
}

tool=$prefix/bin/byre
if [ -e "$tool" ]; then
    find_one qemu-img >/dev/null # completion under the other name
    bash -n "$prefix/share/bash-completion/completions/byre"
fi
if grep -q '^#define BYRE_HAVE_JSON 1' "$build/config.h"; then
    "$tool" --version | grep -qF "$(pkg-config --modversion byre)"
fi

# shellcheck disable=SC2046
for example in examples/*.c; do
    program=$scratch/$(basename "$example" .c)
    compile -o "$program" "$example" $(pkg-config --cflags --libs byre)
    compile -o "$program-static" "$example" $(pkg-config --cflags byre) \
        "${library%.so}.a" \
        $(pkg-config --static --libs byre | sed 's/-lbyre\>//g')
done

# The first example, once with each kind of library, on the same disk.
head -c 1048576 /dev/zero >"$scratch/disk.raw"
"$scratch/read_disk" "$scratch/disk.raw" >"$scratch/shared.out"
env -u LD_LIBRARY_PATH "$scratch/read_disk-static" "$scratch/disk.raw" \
    >"$scratch/static.out"
cmp "$scratch/shared.out" "$scratch/static.out"
