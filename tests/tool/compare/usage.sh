# Without this a wrong command line could be taken for a comparison.
. "$TOOLS/functions.sh"
byre compare
byre compare a
byre compare a b c
byre compare --nosuch a b
byre compare --object nosuch a b
