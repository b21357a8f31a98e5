# Without this the lines that scripts read could change, or options that work in
# qemu-img.
. "$TOOLS/bench/common.inc"
qemu-img create -q -f qcow2 b.qcow2 64M
both b.qcow2
both -c 10 -d 2 -s 64k -S 1M -o 5 b.qcow2
both -c 10 -w b.qcow2
both -c 0 b.qcow2
both -c 5 -s 0 b.qcow2
both -c 10 -S 0 b.qcow2
both -c 100 -s 1M -S 3M -w b.qcow2
both -c 10 -w --no-drain --pattern 0x7f b.qcow2
both -c 10 -q b.qcow2
both -c 5 -i threads -n -t none b.qcow2
for mode in unsafe directsync writethrough writeback none; do
    both -t $mode -c 5 -w b.qcow2
done
both -U -c 5 b.qcow2
both -f raw -c 5 b.qcow2
both --image-opts -c 5 driver=qcow2,file.filename=b.qcow2
both -c 4 -w -d 1 --flush-interval 1 b.qcow2
both -c 40 -w -d 4 --flush-interval 4 b.qcow2
both -c 40 -w -d 4 --flush-interval 4 --no-drain b.qcow2
both -c 10000 -d 10000 b.qcow2
qemu-img check -q b.qcow2 && echo sound
