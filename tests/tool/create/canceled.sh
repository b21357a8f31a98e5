# Without this an ended creation would leave half an image, or take away a file
# that was there before.
. "$TOOLS/functions.sh"

# Ends the creation of so much that it cannot end by itself, once file $1 grows.
cancel() {
    file=$1
    shift
    "$BYRE" create -q "$@" 8G &
    for _ in $(seq 400); do
        [ -s "$file" ] && break
        sleep 0.05
    done
    kill -TERM $!
    { wait $!; } 2>/dev/null
    echo "exit $?"
}

cancel a.raw -f raw -o preallocation=full a.raw
left a.raw
cancel a.qcow2 -f qcow2 -o preallocation=full a.qcow2
left a.qcow2
cancel d -f qcow2 -o preallocation=full,data_file=d a.qcow2
left a.qcow2
left d
: >old.raw
cancel old.raw -f raw -o preallocation=full old.raw
left old.raw
