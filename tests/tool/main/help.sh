# Without this libguestfs, which looks for -U in the line of info, would go on
# without it, and a verb could be missing from the help.
for name in "$BYRE" "$QEMU_IMG"; do
    "$name" --help | grep -c '\binfo\b.*-U\b'
    "$name" -h | sed -n 1p
done
"$BYRE" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'
