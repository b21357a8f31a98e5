# Without this a conversion would fail, or could not be ended by a signal, where
# no thread can be started to watch for signals.
. "$TOOLS/functions.sh"
command -v strace >/dev/null && strace -qq -o log true ||
    skip 'strace does not work here'
export ASAN_OPTIONS=detect_leaks=0 # it cannot look for them in a traced program
make_data 64
strace -f -qq -o log -e trace=clone,clone3,rt_sigprocmask,pwrite64 \
    -e inject=clone,clone3:error=EAGAIN "$BYRE" convert -m 1 d.qcow2 a.raw
echo "exit $?"
cmp a.raw d.raw && echo same
# The mask of before is back when the bytes are written.
sed -n '/ \(clone\|clone3\)(.*EAGAIN/,/ pwrite64(/p' log >between
grep -q 'rt_sigprocmask(SIG_SETMASK, \[USR1\]' between &&
    grep -q ' pwrite64(' between && echo unblocked
