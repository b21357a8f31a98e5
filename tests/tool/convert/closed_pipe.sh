# Without this a reader that goes away would end the program by a signal or be
# taken for success.
. "$TOOLS/functions.sh"
make_data 4096
{
    "$BYRE" convert d.qcow2 /dev/stdout 2>message
    echo $? >status
} | head -c 1000 >/dev/null
cat status
sed 's/^\(byre: \).*\(Broken pipe\)$/\1... \2/' message
