# Without this a program that calls the verbs that change an image in place could
# not read what they say, or not together with their progress.
. "$TOOLS/functions.sh"
both='--output=json --progress=json'
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-io -c 'write -P 1 0 1M' base.qcow2 >/dev/null
cp base.qcow2 other.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 1M 1M' top.qcow2 >/dev/null

byre snapshot -c one --output=json base.qcow2 | mask_info
byre snapshot -q -d one --output=json base.qcow2
byre bitmap --add --disable --output=json top.qcow2 b
byre amend --output=json -o lazy_refcounts=on base.qcow2
byre amend -q --output=json -o lazy_refcounts=off base.qcow2
byre check --output=json base.qcow2

# One object a line, the last of progress with all of it, and then the result.
ends() {
    sed -n -e '/^\$/p' -e 's/"percent": 100.00.*/"percent": 100.00 .../p' \
        -e '/"filename"/p' | uniq
}
byre amend $both -o refcount_bits=64 base.qcow2 | ends
byre check $both base.qcow2 | ends
byre rebase $both -b other.qcow2 -F qcow2 top.qcow2 | ends
byre rebase -u $both -b base.qcow2 -F qcow2 top.qcow2 | ends
byre commit -d $both top.qcow2 | ends
byre commit $both -b base.qcow2 top.qcow2 | ends
byre rebase $both -b '' top.qcow2 | ends

# In the other form too it ends with all of it.
byre rebase -u -p -b base.qcow2 -F qcow2 top.qcow2 | tr '\r' '\n' | uniq
byre commit -p top.qcow2 | tr '\r' '\n' | tail -n 3
