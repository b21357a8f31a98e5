# Without this the statistics could be counted otherwise than qemu-img does.
. "$TOOLS/functions.sh"

same() {
    qemu-img check "$@" >theirs 2>&1
    "$QEMU_IMG" check "$@" >ours 2>&1
    diff theirs ours && cat ours
}

qemu-img create -q -f qcow2 s.qcow2 10M
qemu-io -c 'write 3M 64k' -c 'write 0 128k' -c 'write -c 5M 64k' \
    -c 'write -c 6M 64k' -c 'write -z 7M 128k' -c 'write 192k 64k' \
    s.qcow2 >/dev/null
same s.qcow2
same --output=json s.qcow2
same --image-opts driver=qcow2,file.filename=s.qcow2 --output=json
same --output=json 'json:{"driver":"qcow2","file":{"driver":"file","filename":"s.qcow2"}}'
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k e.qcow2 10M
qemu-io -c 'write 3M 1k' -c 'write 0 40k' -c 'write -z 7M 8k' e.qcow2 >/dev/null
same e.qcow2
qemu-img create -q -f qcow2 -o preallocation=metadata p.qcow2 10M
same p.qcow2
qemu-img create -q -f qcow2 -o data_file=d.raw d.qcow2 10M
qemu-io -c 'write 3M 1k' -c 'write 0 40k' d.qcow2 >/dev/null
same d.qcow2
