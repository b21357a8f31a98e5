# Without this SIGUSR1 would end the conversion instead of showing how far it is
# (incus asks for the progress so).
. "$TOOLS/functions.sh"
make_data 4096
mkfifo pipe
"$BYRE" convert d.qcow2 pipe 2>message &
exec 3<pipe
head -c 1 <&3 >/dev/null # the job runs, and is stuck in the full pipe
kill -USR1 $!
for _ in $(seq 400); do
    [ -s message ] && break
    sleep 0.05
done
cat <&3 >/dev/null
wait $!
echo "exit $?"
sed 's/[0-9][0-9.]*\//N\//' message
