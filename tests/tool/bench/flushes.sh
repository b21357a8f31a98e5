# Without this a benchmark with flushes could leave them out.
. "$TOOLS/bench/common.inc"
# A checker of leaks does not work below strace.
export ASAN_OPTIONS=detect_leaks=0
command -v strace >/dev/null || skip 'there is no strace'
strace -o probe true 2>/dev/null || skip 'strace may not be used here'
truncate -s 1M b.raw

# How many times something was flushed besides what closing flushes.
flushes() {
    strace -f -o trace -e trace=fdatasync,fsync "$BYRE" bench -f raw -w "$@" b.raw >/dev/null
    grep -c 'sync(' trace
}
none=$(flushes -c 40 -d 4)
echo "every 4 of 40: $(($(flushes -c 40 -d 4 --flush-interval 4) - none))"
echo "every 10 of 40: $(($(flushes -c 40 -d 4 --flush-interval 10 --no-drain) - none))"
echo "every 40 of 40: $(($(flushes -c 40 -d 4 --flush-interval 40) - none))"
