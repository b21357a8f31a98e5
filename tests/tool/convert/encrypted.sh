# Without this an encrypted image could not be read, or be read with the wrong
# passphrase.
. "$TOOLS/functions.sh"
make_filled_luks
opts=driver=qcow2,file.filename=l.qcow2,encrypt.key-secret=s0
check() { cmp a.raw l.raw && echo same; rm -f a.raw; }
byre convert --object secret,id=s0,file=pass --image-opts $opts a.raw
check
byre convert --object "secret,id=s0,data=open sesame" --image-opts $opts a.raw
check
byre convert --object secret,id=s0,data=b3BlbiBzZXNhbWU=,format=base64 \
    --image-opts $opts a.raw
check
byre convert --object secret,id=s0,file=pass \
    'json:{"driver":"qcow2","file.filename":"l.qcow2","encrypt":{"format":"luks","key-secret":"s0"}}' a.raw
check
byre convert --passphrase-file pass l.qcow2 a.raw
check
byre convert l.qcow2 a.raw
byre convert --object secret,id=s0,file=pass l.qcow2 a.raw
byre convert --image-opts $opts a.raw
byre convert --object secret,id=s0,data=wrong --image-opts $opts a.raw
printf '\377\376' >bad
byre convert --object secret,id=s0,file=bad --image-opts $opts a.raw
# Longer than needed, half a surrogate pair, past the last character.
for bytes in '\340\200\200' '\355\240\200' '\360\200\200\200' '\364\220\200\200'; do
    printf "$bytes" >bad
    byre convert --object secret,id=s0,file=bad --image-opts $opts a.raw
done
printf '\342\202\254\355\237\277\360\237\230\200' >good
byre convert --object secret,id=s0,file=good --image-opts $opts a.raw
printf 'open sesame\n' >newline
byre convert --passphrase-file newline l.qcow2 a.raw
byre convert --passphrase-file gone l.qcow2 a.raw
left a.raw
