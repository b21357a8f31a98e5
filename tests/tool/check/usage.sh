# Without this a wrong command line could check, or repair, the wrong thing.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 d.qcow2 1M
qemu-img create -q -f raw d.raw 1M
byre check
byre check d.qcow2 d.qcow2
byre check -r some d.qcow2
byre check -r
byre check --output=xml d.qcow2
byre check -T nosuch d.qcow2
byre check --findings d.qcow2
byre check --image-opts -f qcow2 d.qcow2
byre check --nosuch d.qcow2
byre check nosuch.qcow2
byre check -f nosuch d.qcow2
byre check -U -r all d.qcow2
byre check -f raw d.raw
byre check d.raw
byre check -r all d.raw
byre check --output=json d.raw
byre check -f qcow2 d.raw
chmod a-w d.qcow2
byre check d.qcow2
