# Without this callers that read `qemu-img version N` could find nothing.
"$BYRE" --version | sed -n '1p;$p'
"$BYRE" -V | sed -n 1p
"$QEMU_IMG" --version | sed -n 1p
"$QEMU_IMG" --version | grep -c '^qemu-img version [0-9.]* '
