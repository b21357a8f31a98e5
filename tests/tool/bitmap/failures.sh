# Without this a failing action could look as if it had worked, or what callers
# of qemu-img look for in its message could be missing.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 10M
qemu-img create -q -f qcow2 large 20M
qemu-img create -q -f qcow2 -o compat=0.10 v2 1M
qemu-img create -q -f qcow v1 1M
truncate -s 1M raw
qemu-img bitmap --add a b0
qemu-img bitmap --add large b0
for action in --remove --clear --enable --disable '--merge b0'; do
    byre bitmap $action a nosuch
done
byre bitmap --merge nosuch a b0
byre bitmap --add a b0
byre bitmap --add a ''
byre bitmap --add a "$(printf '%01024d' 0)" | sed 's/0000*/000.../g'
for granularity in 0 100 256 7M 4G; do
    byre bitmap --add -g $granularity a b1
done
byre bitmap --add v2 b0
byre bitmap --add v1 b0
byre bitmap --add -f raw raw b0
byre bitmap --merge b0 -b large -F qcow2 a b0
byre bitmap --merge b0 -b gone -F qcow2 a b0
byre bitmap --add gone b0
# What came before a failure stays.
byre bitmap --add --remove --remove a b2
byre bitmap --add --merge nosuch a b3
"$BYRE" bitmap --list a
byre bitmap --list a nosuch
byre bitmap --list raw
