# Without this the list of options, which callers look into before they use one,
# could miss some.
. "$TOOLS/functions.sh"
byre create -o help
byre create -f qcow -o '?'
byre create -f qcow2 -o help
byre create -f raw -o size=1M -o help a
byre create -f qcow2 -o size=1M,help a | sed -n '1p; /nocow/p; /extent/p'
byre create -f nosuch -o help
left a
# Nothing that QEMU lists is missing but a preallocation of QCOW files, which
# would be one of the file alone.
for format in raw qcow qcow2; do
    qemu-img create -f $format -o help a | sed -n 's/^  \([^=]*\)=.*/\1/p' >theirs
    "$BYRE" create -f $format -o help a | sed -n 's/^  \([^=]*\)=.*/\1/p' >ours
    sort ours | cmp ours - && comm -23 theirs ours
done
