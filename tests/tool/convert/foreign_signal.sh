# Without this a SIGUSR2 from outside would be taken for the end of the job, and
# the conversion could not be ended any more.
. "$TOOLS/functions.sh"
make_data 8192
# So slow that it cannot end by itself while this case runs.
"$BYRE" convert -r 4k d.qcow2 a.raw 2>message &
for _ in $(seq 400); do
    [ -e a.raw ] && break
    sleep 0.05
done
kill -USR2 $!
kill -TERM $!
wait $!
echo "exit $?"
cat message
left a.raw
