# Without this a limit on the size of files would end the program by a signal,
# and leave half a disk that looks whole.
. "$TOOLS/functions.sh"
make_data 256
(
    ulimit -f 64
    byre convert d.qcow2 a.raw
)
left a.raw
printf 'old bytes' >a.raw
(
    ulimit -f 64
    byre convert d.qcow2 a.raw
)
wc -c <a.raw
