#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs every fuzz target for a while; fails if one of them finds something.
#
#     fuzz/run.sh BUILD_DIR SECONDS [TARGET...]
#
# BUILD_DIR is one configured for fuzzing:
#
#     CC=clang meson setup BUILD_DIR -Dfuzz=true -Db_sanitize=address,undefined \
#         -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link
#
# What libFuzzer learns stays in BUILD_DIR/fuzz/corpus and is built upon next
# time; what crashes is kept in BUILD_DIR/fuzz/findings.  Once it is fixed, the
# input goes into fuzz/corpus/TARGET, which the tests replay.
set -u

if [ $# -lt 2 ]; then
    sed -n '4,6s/^# *//p' "$0" >&2
    exit 2
fi
source_dir=$(dirname "$0")
build_dir=$1/fuzz
seconds=$2
shift 2

if [ $# -eq 0 ]; then
    for program in "$build_dir"/fuzz_*; do
        [ -f "$program" ] && [ -x "$program" ] || continue
        set -- "$@" "$(basename "$program" | sed 's/^fuzz_//')"
    done
fi
if [ $# -eq 0 ]; then
    echo "$build_dir has no fuzz targets; configure it with -Dfuzz=true" >&2
    exit 2
fi

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# What is freed is not held back for so long that it looks like a leak.
export ASAN_OPTIONS=quarantine_size_mb=64
python3 "$source_dir/make_seeds.py" "$build_dir/seeds" || exit 1
mkdir -p "$build_dir/findings"
findings=0
number=0
echo "1..$#"

for target in "$@"; do
    number=$((number + 1))
    log=$build_dir/findings/$target.log
    mkdir -p "$build_dir/corpus/$target" "$build_dir/seeds/$target"
    set -- "$build_dir/corpus/$target" "$build_dir/seeds/$target"
    if [ -d "$source_dir/corpus/$target" ]; then
        set -- "$@" "$source_dir/corpus/$target"
    fi
    if "$build_dir/fuzz_$target" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=512 -malloc_limit_mb=64 -print_final_stats=1 \
        -dict="$source_dir/qcow2.dict" \
        -artifact_prefix="$build_dir/findings/$target-" \
        "$@" >"$log" 2>&1; then
        status="ok"
    else
        status="not ok"
        findings=$((findings + 1))
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$status $number - $target: ${runs:-0} executions in $seconds s"
    if [ "$status" = "not ok" ]; then
        tail -n 40 "$log" | sed 's/^/# /'
    fi
done
[ "$findings" -eq 0 ]
