# Without this a target whose space cannot be reserved could look like a result,
# or a file that was somebody's be removed.
. "$TOOLS/functions.sh"
command -v strace >/dev/null && strace -qq -o log true ||
    skip 'strace does not work here'
export ASAN_OPTIONS=detect_leaks=0 # it cannot look for them in a traced program
qemu-img create -q -f qcow2 d.qcow2 4M
byre convert -o preallocation=falloc d.qcow2 a.raw
[ $(($(stat -c '%b*%B' a.raw))) -ge 4194304 ] && echo reserved
fail() {
    strace -f -qq -o log -e trace=fallocate -e inject=fallocate:error=ENOSPC \
        "$BYRE" convert -o preallocation=falloc d.qcow2 "$1" 2>&1
    echo "(exit $?)"
}
fail b.raw
left b.raw
fail a.raw
wc -c <a.raw
