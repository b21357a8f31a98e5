# Without this an overlay could not be grown with preallocation, as VM managers
# grow linked clones; or it could show what its backing file has behind its end.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 base.qcow2 5M
qemu-io -c 'write -q -P 3 0 5M' base.qcow2
for compat in 1.1 0.10; do
    for mode in metadata falloc full; do
        qemu-img create -q -f qcow2 -o compat=$compat -b base.qcow2 -F qcow2 o.qcow2 1M
        byre resize --preallocation=$mode o.qcow2 8M
        qemu-img check -q o.qcow2 || echo "check fails"
        qemu-io -r -c 'read -q -P 3 0 1M' -c 'read -q -P 0 1M 7M' o.qcow2
    done
done
