# Without this a mistyped operand could copy another part than was meant.
. "$TOOLS/functions.sh"
make_data 64
byre dd
byre dd if=d.raw
byre dd of=o
byre dd if=d.raw of=o nosuch=1
byre dd if=d.raw of=o seek=1
byre dd if=d.raw of=o bs
byre dd if=d.raw of=o more
for operand in bs=0 bs=x bs= bs=3G count=x count=-1 skip=x isize=x osize=x; do
    byre dd if=d.raw of=o $operand
done
byre dd -O nosuch if=d.raw of=o
byre dd -f nosuch if=d.raw of=o
byre dd --image-opts -f raw if=d.raw of=o
byre dd if=gone of=o
byre dd if=d.raw of=nbd:localhost:10809
byre dd if=d.raw of=nodir/o
byre dd if=d.raw of=o isize=128k
byre dd if=d.raw of=o osize=32k
byre dd -n if=d.raw of=o
byre dd --nosuch if=d.raw of=o
left o
