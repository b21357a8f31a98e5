# Without this an ended conversion would leave half a disk that looks whole.
. "$TOOLS/functions.sh"
make_data 8192
for signal in TERM HUP; do
    # So slow that it cannot end by itself while this case runs.
    "$BYRE" convert -r 4k d.qcow2 a.raw 2>message &
    for _ in $(seq 400); do
        [ -e a.raw ] && break
        sleep 0.05
    done
    kill -$signal $!
    wait $!
    echo "exit $?"
    cat message
    left a.raw
done
