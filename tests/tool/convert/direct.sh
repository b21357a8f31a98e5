# Without this -t none and directsync could fail on ends that are not aligned.
. "$TOOLS/functions.sh"
make_data 100
printf 'the last sector' >>d.raw
truncate -s 102912 d.raw
dd if=d.raw of=/dev/null iflag=direct bs=4k count=1 status=none 2>/dev/null ||
    skip 'this file system has no direct I/O'
for mode in none directsync; do
    byre convert -t $mode -f raw d.raw a.raw
    cmp a.raw d.raw && echo same
    rm a.raw
done
