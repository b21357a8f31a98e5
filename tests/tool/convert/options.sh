# Without this the options of the target could be taken wrong, or one that is
# wrong be passed over.
. "$TOOLS/functions.sh"
make_data 64
for list in help '?'; do
    byre convert -O raw -o $list
    byre convert -O raw -o size=1M -o $list d.qcow2 a.raw
done
for list in nosuch=1 size=x size preallocation=metadata ,size=1M preallocation=off,, \
    nocow=maybe extent_size_hint=x; do
    byre convert -o "$list" d.qcow2 a.raw
done
left a.raw
byre convert -o size=1M -o preallocation=off d.qcow2 a.raw
cmp a.raw d.raw && echo the size of the source
byre convert -o nocow=on,extent_size_hint=1M d.qcow2 b.raw
cmp b.raw d.raw && echo same
