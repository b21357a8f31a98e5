# Without this the programs that read the progress (vdsm, CDI, Proxmox VE) would
# raise an error.
. "$TOOLS/functions.sh"
make_data 3000
"$BYRE" convert -p -O raw d.qcow2 a.raw >out
python3 - <<'END'
import re
text = open('out', newline='').read()
assert text.endswith('\r\n'), text[-20:]
parts = text[:-1].rstrip('\r').split('\r')
assert all(re.fullmatch(r'    \(\d{1,3}\.\d\d/100%\)', p) for p in parts), parts
print(parts[0], parts[-1])
END
"$BYRE" convert -p -q d.qcow2 a.raw
"$BYRE" convert d.qcow2 a.raw
echo silent
