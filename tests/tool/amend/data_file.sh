# Without this the recorded name of a data file could not follow the file.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on a 1M
qemu-io -c 'write -q -P 3 64k 64k' a
shown() {
    byre info a | grep data
}
byre amend -o data_file=e a
mv d e
shown
byre amend -o data_file_raw=on a
byre amend -o data_file_raw=off a
shown
byre amend -o data_file_raw=on a
byre amend -o compat=0.10 a
qemu-io -c 'read -P 3 64k 64k' a | head -1
byre amend -o data_file= a
shown
byre info --image-opts driver=qcow2,file.filename=a,data-file.driver=file,data-file.filename=e |
    grep ^virtual
