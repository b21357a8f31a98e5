# Without this a passphrase could not be changed, or one be lost by mistake.
. "$TOOLS/functions.sh"
need crypto
printf one >1
printf two >2
printf three >3
secrets='--object secret,id=a,file=1 --object secret,id=b,file=2 --object secret,id=c,file=3'
"$BYRE" create -q -f qcow2 --object secret,id=a,file=1 \
    -o encrypt.format=luks,encrypt.key-secret=a,encrypt.iter-time=10 l 1M
active() {
    qemu-img info --output=json l | tr -d ' \n' | grep -o '"active":[a-z]*' |
        cut -d: -f2 | tr '\n' ' '
    echo
}
change() {
    echo "\$ $*"
    key=$1
    options=$2
    shift 2
    "$BYRE" amend $secrets -o "$options" "$@" --image-opts \
        driver=qcow2,file.filename=l,encrypt.key-secret=$key 2>&1 |
        sed 's/json:{[^}]*}[^}]*}/l/'
    active
}
quick=encrypt.iter-time=10
change a encrypt.state=inactive,encrypt.keyslot=0
change a encrypt.state=inactive,encrypt.old-secret=a
change a encrypt.state=active,encrypt.new-secret=b,$quick
change b encrypt.state=active,encrypt.new-secret=b,encrypt.keyslot=6,$quick
change b encrypt.state=active,encrypt.new-secret=c,encrypt.keyslot=6,$quick
change b encrypt.state=active,encrypt.new-secret=c,encrypt.keyslot=6,$quick --force
change b encrypt.state=inactive,encrypt.keyslot=3
change b encrypt.state=inactive,encrypt.keyslot=3 --force
change b encrypt.state=inactive,encrypt.old-secret=a
change a encrypt.state=inactive,encrypt.keyslot=1
change c encrypt.state=inactive,encrypt.old-secret=b
change c encrypt.state=active,encrypt.new-secret=nosuch
change c encrypt.state=active,encrypt.new-secret=a,encrypt.keyslot=6,$quick --force
change c compat=0.10
change a encrypt.state=active,encrypt.new-secret=b,$quick,compat=0.10,size=2M
byre amend --passphrase-file 2 -o encrypt.state=inactive,encrypt.keyslot=6 l
active
byre compare --passphrase-file 2 l l
qemu-img info l | sed -n '/compat:/p;/^virtual/p'
