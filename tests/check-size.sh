#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-size.sh [TREE]: no function over 80 lines, no file over 600.  Deleted,
# files would grow until nobody reads them whole.
set -eu
cd "${1:-$(dirname "$0")/..}"

files=$(find include lib tool export examples fuzz tests bench \
    \( -name '*.[ch]' -o -name '*.py' -o -name '*.sh' \) 2>/dev/null | sort)
[ -n "$files" ] || { echo "no source files found" && exit 1; }

# A function is what stands between a brace in the first column and the next
# closing one there: the style puts both so.
# shellcheck disable=SC2086
awk '
function end_file() {
    if (lines > 600 && name ~ /\.(c|h|py|sh)$/ && name !~ /^include\//) {
        printf "%s: %d lines, more than the limit of 600\n", name, lines
        bad = 1
    }
}
FNR == 1 {
    end_file()
    name = FILENAME
    start = 0
}
{ lines = FNR }
name ~ /\.[ch]$/ && /^\{/ { start = FNR }
name ~ /\.[ch]$/ && /^\}/ {
    if (start && FNR - start + 1 > 80) {
        printf "%s:%d: function of %d lines, more than the limit of 80\n",
            name, start, FNR - start + 1
        bad = 1
    }
    start = 0
}
END {
    end_file()
    exit bad
}
' $files
