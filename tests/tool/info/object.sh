# Without this a secret that cannot be used would be noticed only where it is
# missed, or not at all.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
printf 'x' >pass
for object in nosuch secret,id=s secret,data=s nosuch,id=s secret,id=s,data=x,file=pass \
    secret,id=s,data=x,format=hex secret,id=s,file=gone secret,id=s,data=x,nosuch=1 \
    secret,id=s,data=x,keyid=k,iv=i 'secret,id=s,data=a*b=,format=base64' \
    secret,id=s,data=YQ,format=base64 '{"qom-type":"secret","id":"s"' \
    '{"qom-type":"secret","id":"s"}' 'secret,id=s,data'; do
    byre info --object "$object" a.qcow2
done
byre info --object secret,id=s,data=x --object secret,id=s,data=y a.qcow2
for object in secret,id=s,data=x secret,id=s,file=pass \
    secret,id=s,data=YQ==,format=base64 '{"qom-type":"secret","id":"s","data":"x"}' \
    qom-type=secret,id=s,data=x,,y,format=raw; do
    byre info --object "$object" a.qcow2 | sed -n 1,2p
done
for object in help secret,help; do
    for verb in info map compare convert; do
        byre $verb --object "$object"
    done
done
