# Without this a raw file of an odd length could be shown with another size
# than the one that reading it gives.
. "$TOOLS/functions.sh"
truncate -s 1000 a.raw
byre info a.raw | mask_info
byre info --output=json a.raw | mask_info
byre info -f raw a.raw | sed -n 2,3p
