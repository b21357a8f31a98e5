#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-format.sh [TREE]: every C file looks as .clang-format (version 14) lays
# it out.  Deleted, changes would drown in differences of white space.
set -eu
cd "${1:-$(dirname "$0")/..}"

tool=
for candidate in clang-format-14 clang-format; do
    case $($candidate --version 2>/dev/null) in
    *"version 14."*) tool=$candidate && break ;;
    esac
done
if [ -z "$tool" ]; then
    echo "clang-format 14 is not installed"
    exit 77
fi

files=$(find include lib tool export examples fuzz tests -name '*.[ch]' \
    2>/dev/null | sort)
[ -n "$files" ] || { echo "no source files found" && exit 1; }
# shellcheck disable=SC2086
if $tool --dry-run -Werror $files 2>/dev/null; then
    exit 0
fi
bad=0
for file in $files; do
    $tool "$file" | diff -u "$file" - || bad=1
done
[ $bad -eq 0 ] || echo "run: $tool -i FILE"
exit $bad
