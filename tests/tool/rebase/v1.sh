# Without this a version 1 overlay could lose its disk when it moves, which
# qemu-img cannot do at all.
. "$TOOLS/functions.sh"
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f raw b.raw 700k
qemu-io -f raw -c 'write -q -P 1 0 1M' a.raw
qemu-io -f raw -c 'write -q -P 1 64k 500k' b.raw
qemu-img create -q -f qcow -b a.raw -F raw top.qcow
qemu-io -f qcow -c 'write -q -P 3 300k 1k' top.qcow
shown() {
    qemu-io -f qcow -r -c 'read -q -P 1 0 300k' -c 'read -q -P 3 300k 1k' \
        -c 'read -q -P 1 301k 723k' top.qcow
    qemu-img info top.qcow | grep ^backing
}
byre rebase --probe-backing -b b.raw -F raw top.qcow
shown
long=$(printf 'n%.0s' $(seq 200))
cp b.raw "$long"
byre rebase --probe-backing -u -b "$long" -F raw top.qcow | sed "s/$long/LONG/"
shown | sed "s/$long/LONG/"
byre rebase --probe-backing -b '' top.qcow
shown
