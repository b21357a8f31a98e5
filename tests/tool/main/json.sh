# Without this a program would have to pick apart what people read.
. "$TOOLS/functions.sh"
make_data 1000
"$BYRE" create --output=json -f qcow2 -o cluster_size=4k,lazy_refcounts n.qcow2 1M
"$BYRE" create --output=json -q -f qcow n.qcow 1M
"$BYRE" resize --output=json n.qcow2 +1M
"$BYRE" compare --output=json d.qcow2 d.raw
"$BYRE" compare --output=json n.qcow2 d.raw; echo $?
"$BYRE" compare -s --output=json n.qcow2 d.raw; echo $?
"$BYRE" dd --output=json if=d.qcow2 of=part bs=64k count=2 skip=1
"$BYRE" convert --output=json -O qcow2 d.qcow2 o.qcow2 |
    sed 's/"\(file-length\|actual-size\)": [0-9]*/"\1": N/'
"$BYRE" convert --output=json d.qcow2 /dev/stdout 2>err | cmp - d.raw && cat err
need zstd
qemu-img convert -c -O qcow2 d.raw c.qcow2
spoil c.qcow2
"$BYRE" convert --salvage --output=json -q -O qcow2 c.qcow2 s.qcow2 && echo quiet
"$BYRE" convert --salvage --output=json -O qcow2 c.qcow2 s.qcow2 2>err |
    sed -n '/salvaged/,$p' | sed 's/"reason": ".*"/"reason": TEXT/'
wc -l <err
"$BYRE" bench --output=json -c 10 d.qcow2 | sed 's/"seconds": .*/"seconds": N/'
echo '-- progress'
for verb in 'convert -O qcow2 d.qcow2 p.qcow2' 'compare d.qcow2 d.raw' 'checksum d.qcow2'; do
    # shellcheck disable=SC2086
    "$BYRE" ${verb%% *} --progress=json --output=json ${verb#* } >out 2>&1 ||
        echo "failed: $verb"
    python3 - <<'END'
import json
lines = [json.loads(line) for line in open('out')]
shown, summary = lines[:-1], lines[-1]
assert len(shown) >= 2 and all(set(p) == {'percent', 'done-bytes', 'total-bytes'}
                               for p in shown), shown
assert shown[0]['percent'] == 0 and shown[-1]['percent'] == 100, shown
assert 'percent' not in summary
print(shown[-1], sorted(summary))
END
done
byre convert --progress=nosuch d.qcow2 x
"$BYRE" compare --progress=human d.qcow2 d.raw | tail -c 24
