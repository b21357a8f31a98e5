# Without this a format could be made wrong, or not as the options say.
. "$TOOLS/functions.sh"
shown() {
    qemu-img info -f "$1" "$2" | sed '/^disk size/d; s/^image: .*//; /^Child/,$d'
    [ "$1" != qcow2 ] || qemu-img check -q -f qcow2 "$2" || echo "(check $?)"
}
byre create a 1M
shown raw a
byre create -f raw a 1001
wc -c <a
byre create -f qcow2 a 1M
shown qcow2 a
byre create -f qcow a 1001
shown qcow a
byre create -q -f qcow2 -o compat=0.10,cluster_size=4k a 26208127
shown qcow2 a
byre create -q a -f qcow2 1M -o extended_l2=on -o cluster_size=128k
shown qcow2 a
