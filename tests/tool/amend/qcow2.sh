# Without this vdsm could not change the version of an image, nor anybody what
# else of it can change.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 4M
qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -z 2M 64k' -c 'write -q -P 2 3M 64k' \
    -c 'write -q -z 3M 64k' a
cp a before
shown() {
    qemu-img info a | sed -n '/compat:/,$p;/^virtual/p'
    qemu-img check -q a || echo "(check $?)"
    qemu-img compare -q a before || echo "(compare $?)"
}
as_qemu_img amend -f qcow2 -o compat=0.10 a
shown
byre amend -o compat=1.1 -o refcount_bits=64,lazy_refcounts a
shown
byre amend -o nolazy_refcounts,refcount_bits=1 -t none a
shown
byre amend -o compat=v2 a
byre amend --options=compat=v2,refcount_bits=16 --format qcow2 --cache=unsafe a
shown
byre amend --image-opts -o compat=v3 driver=qcow2,file.filename=a
byre amend -o backing_file=,backing_fmt= a
byre amend -p -o refcount_bits=8 a | tr '\r' '\n' | grep -o '(100.*'
byre amend -p -q -o refcount_bits=16 a
shown
byre amend -o size=8M a
byre amend -o size=3M a
byre amend -o size=4M a
qemu-io -c 'read -P 0 2M 2M' a | head -1
