# Without this a target of another protocol could become a local file of that
# name, and the bytes never arrive where they were meant to.
. "$TOOLS/functions.sh"
make_data 64
byre convert d.qcow2 file:a.raw
cmp a.raw d.raw && echo same
byre convert d.qcow2 ./b:raw
cmp b:raw d.raw && echo same
byre convert d.qcow2 nbd:localhost:10809
byre convert d.qcow2 'json:{"driver":"raw","file.filename":"c.raw"}'
byre convert d.qcow2 ''
byre convert d.qcow2 /dev/null
ls
