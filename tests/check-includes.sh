#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-includes.sh [TREE]: holds the order of the rooms.  Deleted, a decoder
# could quietly come to depend on an engine, and the tool on private headers.
#
# A folder of lib/ includes only itself and the folders above it in the list;
# tool/, export/ and examples/ see the public header and their own files.
set -eu
cd "${1:-$(dirname "$0")/..}"

rooms="base store codec crypto format engine qcow2 qcow1 raw image job"

for dir in lib/*/; do
    room=$(basename "$dir")
    case " $rooms " in
    *" $room "*) ;;
    *) echo "lib/$room is in no place of the order: $rooms" && exit 1 ;;
    esac
done

files=$(find lib tool export examples -name '*.[ch]' 2>/dev/null | sort)
[ -n "$files" ] || { echo "no source files found" && exit 1; }

# shellcheck disable=SC2086
awk -v rooms="$rooms" '
function complain(why) {
    printf "%s:%d: \"%s\" %s\n", FILENAME, FNR, name, why
    bad = 1
}
function exists(path,    line, found) {
    found = (getline line < path) >= 0
    close(path)
    return found
}
BEGIN {
    count = split(rooms, list, " ")
    for (i = 1; i <= count; i++)
        place[list[i]] = i
}
FNR == 1 {
    folder = FILENAME
    sub(/\/[^\/]*$/, "", folder)
    room = folder
    sub(/^lib\/?/, "", room)
    sub(/\/.*/, "", room)
    inside = FILENAME ~ /^lib\//
}
/^[ \t]*#[ \t]*include[ \t]*["<]/ {
    name = $0
    sub(/^[^"<]*["<]/, "", name)
    sub(/[">].*/, "", name)
    target = name
    sub(/\/.*/, "", target)
    if (/</ && !(target in place && name ~ /\//))
        next
    if (name == "byre.h" || exists(folder "/" name))
        next
    if (!inside) {
        complain("is neither byre.h nor a file of " folder)
        next
    }
    if (name == "config.h")
        next
    if (!(target in place))
        complain("is in no room of lib")
    else if (place[target] > place[room])
        complain("is below " room " in the order of the rooms")
}
END { exit bad }
' $files
