#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-readme.sh [TREE]: the example in README.md is examples/read_disk.c, to
# the letter.  Deleted, the README could show code that does not compile.
set -eu
cd "${1:-$(dirname "$0")/..}"

awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md |
    diff - examples/read_disk.c ||
    { echo "README.md (<) and examples/read_disk.c (>) differ" && exit 1; }
