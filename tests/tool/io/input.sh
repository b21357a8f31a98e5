# Without this a program that drives io through pipes could wait for ever, and
# wrong commands on standard input could go unnoticed.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
# The same input to both programs.
feed() {
    printf "$1" | (cd ours && "$QEMU_IO" $2 2>&1; echo "(exit $?)") | mask_io >ours.txt
    cat ours.txt
    command -v qemu-io >/dev/null || return 0
    printf "$1" | (cd theirs && stdbuf -oL qemu-io $2 2>&1; echo "(exit $?)") | mask_io >theirs.txt
    diff ours.txt theirs.txt
}
feed 'length\nread 0 5\n\nlength\n' a.qcow2
feed 'length\nquit\nlength\n' a.qcow2
feed 'length\nread 0 5' a.qcow2
feed 'read 2M 5\nlength\n' a.qcow2
feed 'open a.qcow2\nlength\n' ''
feed '' ''
echo 'byre io, which shows no prompt to a program:'
printf 'length\nread 2M 5\nfoo\nlength\n' | (cd ours && "$BYRE" io a.qcow2 2>&1; echo "(exit $?)")
# Each answer comes before the next command is given.
mkfifo commands answers
(cd ours && exec "$BYRE" io a.qcow2 <../commands >../answers) &
exec 3>commands 4<answers
echo length >&3
read -r answer <&4 && echo "$answer"
echo 'read -q -P 1 0 5' >&3
read -r answer <&4 && echo "$answer"
echo quit >&3
wait $!
echo "(exit $?)"
