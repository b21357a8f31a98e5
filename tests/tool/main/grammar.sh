# Without this a caller's habit could stop working: options behind operands,
# attached arguments, shortened names, "--", trace options before the verb.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -- -a.qcow2 1M
for command in 'info ./-a.qcow2 -U --output json' 'info -fqcow2 -- -a.qcow2' \
    'info -Ufqcow2 ./-a.qcow2' 'info --outp=json ./-a.qcow2' \
    'map ./-a.qcow2 --output=json -s 512k' 'map -l64k -s 0 ./-a.qcow2' \
    '--trace x map ./-a.qcow2' '-T x --trace=y map ./-a.qcow2'; do
    byre $command | mask_info
done
byre info --format=raw -- -a.qcow2 | grep '^file format'
byre convert ./-a.qcow2 -O raw out.raw -p -q
cmp -n 1048576 out.raw /dev/zero && echo converted
