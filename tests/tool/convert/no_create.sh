# Without this -n could cut the target, leave its old bytes, or write past it.
. "$TOOLS/functions.sh"
make_data 64
qemu-img resize -q d.qcow2 256k
truncate -s 256k d.raw
fill() { printf '%524288s' '' >target; }
fill
byre convert -n d.qcow2 target
head -c 256k target | cmp - d.raw && echo the disk
tail -c 256k target | tr -d ' ' | wc -c
fill
byre convert -n --target-is-zero d.qcow2 target
head -c 64k target | cmp - d.raw -n 65536 && echo the data
tail -c +65537 target | tr -d ' ' | wc -c
truncate -s 100k small
byre convert -n d.qcow2 small
byre convert -n d.qcow2 gone
left gone
fill
byre convert -n --target-image-opts d.qcow2 driver=raw,file.filename=target
head -c 256k target | cmp - d.raw && echo the disk
fill
byre convert -n --target-image-opts d.qcow2 \
    driver=raw,node-name=t,discard=unmap,detect-zeroes=unmap,cache.direct=off,file.driver=file,file.filename=target,file.locking=off,file.aio=threads,file.cache.no-flush=off
head -c 256k target | cmp - d.raw && echo the disk
byre convert -n --target-image-opts d.qcow2 driver=raw,file.filename=target,nosuch=1
byre convert -n --target-image-opts d.qcow2 driver=raw,file.filename=target,backing.discard=unmap
byre convert -n --target-image-opts d.qcow2 driver=raw
byre convert -n --target-image-opts d.qcow2 target
byre convert --target-image-opts d.qcow2 driver=raw,file.filename=target
byre convert --target-is-zero d.qcow2 target
byre convert -n -o preallocation=off d.qcow2 target
