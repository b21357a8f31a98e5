# Without this the help of a verb could fail, or name another program.
. "$TOOLS/functions.sh"
for verb in bench compare convert create dd info io map resize; do
    byre $verb --help | sed -n 1,3p
    "$BYRE" $verb --help >long
    "$BYRE" $verb nothing -h more | cmp - long && echo same
done
as_qemu_img info --help | sed -n 2p
