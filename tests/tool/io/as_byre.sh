# Without this the name byre would lose the reasons that the library gives, or
# the verb its help.
. "$TOOLS/io/common.inc"
make_both -f qcow2 a.qcow2 1M
byre_io -c 'read 2M 512' -c 'write -c 0 512' -c 'write 1M 512' -c 'read -b 0 512' -c 'write -b 0 512' a.qcow2
byre_io -c 'truncate 2000000' -c 'truncate 1M 2M' -c 'reopen -o lazy-refcounts=on' -c length a.qcow2
byre_io -c 'sigraise 0' -c 'sigraise 9999' -c 'sigraise 17' a.qcow2
byre_io -C -c length a.qcow2
byre_io a.qcow2 b
byre_io -Z
byre_io -c
byre_io --cmd
run_in ours "$QEMU_IO" -Z
byre_io nofile
byre_io -f foo a.qcow2
byre_io -r -T trace -c length a.qcow2
for command in read write readv writev aio_read aio_write aio_flush discard flush truncate \
    length map alloc info open close reopen sleep abort sigraise quit help; do
    "$BYRE" io -c "help $command" | sed -n 1p
done
"$BYRE" io -c 'help r'
"$BYRE" io -c help | tail -n 1
"$BYRE" io --help | sed -n 1,3p
"$QEMU_IO" --help | sed -n 1,3p
"$QEMU_IO" -V | sed -n 's/ (.*//;1p'
