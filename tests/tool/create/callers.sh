# Without this a command line that programs use could stop working.
. "$TOOLS/functions.sh"
make() {
    as_qemu_img create "$@"
}
qemu-img create -q -f qcow2 B 1M
make -f qcow2 F 67108864
make -f qcow2 -o preallocation=metadata,compat=0.10,cluster_size=4096 F 1048576
make -f qcow2 -o backing_file=B,backing_fmt=qcow2 F
make -f qcow2 -o preallocation=metadata ./m.qcow2 26208127
make -f qcow2 -o compat=0.10 F 65536K
make -f qcow2 -b B -o backing_fmt=qcow2,compat=0.10 F 65536K
make -f qcow2 -o compat=1.1,cluster_size=131072,lazy_refcounts F 49152K
make -o preallocation=off -f raw F 1024K
make -F qcow2 -b B -f qcow2 F -o extended_l2=on,cluster_size=128k
make -f raw D 1M -o preallocation=falloc
make -f qcow2 -b B -F qcow2 F 1048576b
make -f qcow2 -F qcow2 -b B overlay.img
make -f qcow2 -o data_file=T,data_file_raw=on,preallocation=metadata F 1M
make -f qcow2 -u -b B -F qcow2 -o compat=1.1 F 1M
make -onocow=on -fqcow2 F 1M
