# Without this -s and -l could be off by the start, or reach past the end.
. "$TOOLS/functions.sh"
make_overlay
byre map --output=json -s 32k -l 1M o.qcow2
byre map --start-offset=1.5M --max-length 0x200 --output=json o.qcow2
byre map -s 32k -l 64k o.qcow2
byre map --output=json -s 2.5M -l 7E o.qcow2
byre map --output=json -s 5M o.qcow2
byre map -s 5M o.qcow2
byre map --output=json -l 0 o.qcow2
