#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-header.sh BUILD [TREE]: byre.h compiles alone as C99 and as C++, each
# private header alone as C17.  Deleted, a program could fail to compile because
# of the order in which it includes us.
set -eu
build=$(cd "$1" && pwd)
cd "${2:-$(dirname "$0")/..}"

CC=${CC:-cc}
CXX=${CXX:-c++}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The initialisers are part of the header: they are used once each.
{
    echo '#include "byre.h"'
    sed -n 's/^#define \(BYRE_[A-Z_]*\)_INIT BYRE_SIZED(\(.*\))$/\1_INIT \2/p' \
        include/byre.h | while read -r macro type; do
        echo "void use_$macro($type *out);"
        echo "void use_$macro($type *out)"
        echo "{ $type fresh = $macro; *out = fresh; }"
    done
} >"$scratch/use.c"
grep -q OPEN_OPTIONS "$scratch/use.c"
cp "$scratch/use.c" "$scratch/use.cc"

$CC -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only \
    "$scratch/use.c"
if command -v "$CXX" >/dev/null; then
    $CXX -std=c++11 -pedantic -Wall -Werror -Iinclude -fsyntax-only \
        "$scratch/use.cc"
else
    echo "there is no C++ compiler to try byre.h with"
    exit 77
fi

bad=0
for header in lib/*/*.h; do
    echo "#include \"${header#lib/}\"" >"$scratch/alone.c"
    $CC -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror \
        -Iinclude -Ilib -I"$build" -fsyntax-only "$scratch/alone.c" ||
        { echo "$header does not compile alone" && bad=1; }
done
exit $bad
