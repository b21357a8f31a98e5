# Without this a script that asks which options there are could not find out.
. "$TOOLS/functions.sh"
byre amend -f qcow2 -o help
as_qemu_img amend -f qcow2 -o '?' | grep -c '^  '
byre amend -f raw -o help
byre amend -f nosuch -o help
qemu-img create -q -f qcow2 a 1M
byre amend -o help a | head -2
byre amend -o compat=0.10,help a | sed -n 2p
byre amend -o help
qemu-img info a | grep compat
