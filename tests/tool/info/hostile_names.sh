# Without this a name inside an image could command the terminal that shows it,
# or add lines that a reader of the text takes for the tool's.
. "$TOOLS/functions.sh"
name=$(printf 'x\033[31mRED\033]0;pwn\007\r\nimage: fake\302\233')
qemu-img create -q -f qcow2 -u -b "$name" -F raw o.qcow2 1M
qemu-img create -q -f qcow2 s.qcow2 1M
qemu-img snapshot -c "$(printf 's\033[2J\nnap')" s.qcow2
byre info o.qcow2 | mask_info | cat -v | grep -v '^    '
byre info s.qcow2 | mask_info | cat -v | grep nap
byre info --backing-chain o.qcow2 | tail -n 2 | cat -v
byre convert o.qcow2 out.raw | cat -v
