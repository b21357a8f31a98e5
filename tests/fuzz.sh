#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fuzz.sh BUILD SECONDS: builds the libFuzzer targets with clang into BUILD and
# runs each for so many seconds (fuzz/run.sh).  The last line is the summary.
set -euo pipefail

build=$1
limit=$2
cd "$(dirname "$0")/.."

if [ ! -f "$build/build.ninja" ]; then
    CC=clang meson setup -Dfuzz=true -Dtests=false -Db_lundef=false \
        -Db_sanitize=address,undefined -Dc_args=-fsanitize=fuzzer-no-link \
        "$build"
fi
meson compile -C "$build"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
fuzz/run.sh "$build" "$limit" | tee "$log" || status=$?
passed=$(grep -c '^ok' "$log" || :)
failed=$(grep -c '^not ok' "$log" || :)
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
