# Without this options that make no sense together could be taken for something.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a 10M
byre bitmap
byre bitmap --add
byre bitmap --add a
byre bitmap --add a b c
byre bitmap a b
byre bitmap --remove-all --add a
byre bitmap --clear -g 64k a b
byre bitmap --merge b -F qcow2 a b
byre bitmap --clear -b a a b
byre bitmap --list --add a b
byre bitmap -U --clear a b
byre bitmap --list --output=xml a
byre bitmap --add -g x a b
byre bitmap --add --image-opts -f qcow2 driver=qcow2,file.filename=a b
byre bitmap --nosuch a b
byre bitmap --list a
byre bitmap --list --output=json a
