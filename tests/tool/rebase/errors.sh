# Without this an image could come to stand on itself, or on what is not there.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 2M
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 above.qcow2
qemu-img create -q -f raw r.raw 1M
byre rebase top.qcow2
byre rebase -b a.qcow2
byre rebase -b a.qcow2 top.qcow2
byre rebase -b nothing -F qcow2 top.qcow2
byre rebase -b top.qcow2 -F qcow2 top.qcow2
byre rebase -b above.qcow2 -F qcow2 top.qcow2
byre rebase -b a.qcow2 -F qcow2 -f raw r.raw
byre rebase -b a.qcow2 -F nosuch top.qcow2
byre rebase -c -b '' -T fast top.qcow2
qemu-img info top.qcow2 | grep ^backing
mv a.qcow2 gone
byre rebase -b r.raw -F raw top.qcow2
qemu-img create -q -f qcow v1.qcow 1M
byre rebase -b r.raw -F raw v1.qcow
qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on x.qcow2 1M
byre rebase -u -b r.raw -F raw x.qcow2
