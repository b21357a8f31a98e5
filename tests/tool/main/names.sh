# Without this names of files could be read as protocols or the reverse.
. "$TOOLS/functions.sh"
truncate -s 1024 plain.raw ./a:b
byre info plain.raw | sed -n 1,3p
byre info file:plain.raw | sed -n 1,3p
byre info ./a:b | sed -n 1,3p
byre info file:a:b | sed -n 1,3p
byre info a:b
byre info nbd://localhost/disk
