# Without this images given by lists or trees of options could be opened wrong.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 'a,b.qcow2' 1M
byre info --image-opts 'driver=qcow2,file.filename=a,,b.qcow2' | sed -n 2,3p
byre info --image-opts 'driver=qcow2,file.driver=file,file.filename=a,,b.qcow2' | sed -n 2,3p
byre info --image-opts 'driver=raw,file.filename=a,,b.qcow2' | sed -n 2,3p
byre info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a,b.qcow2"}}' | sed -n 2,3p
byre info 'json:{"driver":"raw","offset":512,"size":1024,"file":{"driver":"file","filename":"a,b.qcow2"}}' | sed -n 2,3p
byre info --image-opts 'driver=nosuch,file.filename=a,,b.qcow2'
byre info --image-opts 'driver=qcow2,file.filename=a,,b.qcow2,nosuch=1'
byre info --image-opts 'a,,b.qcow2'
byre info --image-opts 'driver=qcow2,,x'
byre info --image-opts 'driver=qcow2'
byre info --image-opts '=x'
byre info 'json:{"driver":"qcow2"'
