# Without this a name could break out of the JSON text, or make it invalid.
. "$TOOLS/functions.sh"
name=$(printf 'we"\\ \t\001\303\244\177\377\342\202\254\360\237\230\200.raw')
truncate -s 512 "$name"
"$BYRE" info --output=json "$name" >ours
sed -n 's/^    "filename"/filename/p' ours
python3 -m json.tool ours >/dev/null && echo valid
qemu-img info --output=json "$name" | sed -n 's/^    "filename"/filename/p'
