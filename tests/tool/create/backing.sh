# Without this an overlay could be made that finds no backing file, or another
# one than was meant.
. "$TOOLS/functions.sh"
truncate -s 1001 base.raw
qemu-img create -q -f qcow2 base.qcow2 3M
mkdir sub
shown() {
    qemu-img info -f "$1" "$2" | grep -e '^virtual' -e '^backing'
}
byre create -f qcow2 -b base.raw -F raw a
shown qcow2 a
byre create -f qcow2 -b base.raw -B raw a 4M
shown qcow2 a
byre create -F qcow2 -b ../base.qcow2 -f qcow2 sub/a -o extended_l2=on,cluster_size=128k
shown qcow2 sub/a
byre create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2,compat=1.1 a
shown qcow2 a
byre create -f qcow2 -o backing_file=gone -b "$PWD/base.qcow2" --backing-format qcow2 a |
    sed "s,$PWD,DIR,"
byre create -f qcow -b base.qcow2 -F qcow2 a
shown qcow a
byre create -f qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}' -F qcow2 a
byre create -q -f qcow2 -b file:base.qcow2 -F qcow2 a
shown qcow2 a
echo unchecked
byre create -f qcow2 -u -b gone,1 -F raw a 1M
shown qcow2 a
byre create -q -f qcow2 -u -o backing_file=gone,,1,backing_fmt=raw a 1M
shown qcow2 a
rm a
echo refused
byre create -f qcow2 -b base.raw a
byre create -f qcow2 -b gone a
byre create -f qcow2 -u -b base.raw a 1M
byre create -f qcow2 -b gone -F raw a 1M
byre create -f qcow2 -u -b gone -F raw a
byre create -f qcow2 -u -b gone -F nosuch a 1M
byre create -f qcow2 -b base.raw -F qcow2 a
byre create -f qcow2 -b base.qcow2 -F qcow2 sub/b
byre create -f qcow2 -b '' -F raw a 1M
byre create -f qcow2 -F raw a 1M
byre create -b base.raw -F raw a 1M
byre create -F raw a 1M
byre create -o backing_file=base.raw a 1M
byre create -f qcow2 -b ./base.qcow2 -F qcow2 base.qcow2
qemu-img info base.qcow2 | grep ^virtual
left a
