#!/bin/sh
# SPDX-License-Identifier: MIT
# Without this an option could be added and stay out of its manual page.
# usage: check-man.sh BYRE MAN_SOURCES
byre=$1
pages=$2
count=0
failed=0

# The options that --help shows, one a line.
shown() {
    "$byre" "$@" --help |
        sed -n 's/^  \(-.*\)/\1/p' | sed 's/  .*//' | tr ', ' '\n\n' |
        grep '^-'
}

for verb in '' bench compact compare convert create dd info io map resize; do
    page=$pages/byre${verb:+-$verb}.1.scd
    for option in $(shown $verb); do
        count=$((count + 1))
        if grep -qF -- "*$option*" "$page"; then
            echo "ok $count - $verb $option"
        else
            echo "not ok $count - $verb $option is not in $page"
            failed=1
        fi
    done
done
if [ $count -lt 60 ]; then
    echo "not ok $((count + 1)) - --help shows only $count options"
    count=$((count + 1))
fi
echo "1..$count"
exit $failed
