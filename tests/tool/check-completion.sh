#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Without this an option or a verb could be added that the shell does not complete.
# usage: check-completion.sh BYRE COMPLETION
byre=$1
count=0
failed=0
compopt() { :; } # only within a completion

# shellcheck disable=SC1090
. "$2"

# Completes the last of the words.
complete_words() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _byre
}

# Checks that $1 is among what came out.
check_reply() {
    local word
    count=$((count + 1))
    for word in "${COMPREPLY[@]}"; do
        if [ "$word" = "$1" ]; then
            echo "ok $count - ${COMP_WORDS[*]:1} gives $1"
            return
        fi
    done
    echo "not ok $count - ${COMP_WORDS[*]:1} does not give $1"
    failed=1
}

expect() {
    complete_words "${@:2}"
    check_reply "$1"
}

# The options in the left column of --help, by another way than the script's.
shown() {
    "$byre" "$1" --help | python3 -c '
import re, sys
for line in sys.stdin:
    if line.startswith("  -"):
        print("\n".join(re.findall(r"(?<!\S)--?\w[\w-]*",
                                   re.split(r"   *", line.strip())[0])))'
}

verbs=$("$byre" --help | awk '/^  [a-z]/ { print $1 }')
for verb in $verbs; do
    expect "$verb" "$byre" "${verb:0:2}"
    complete_words "$byre" "$verb" -
    for option in $(shown "$verb"); do
        check_reply "$option"
    done
done
expect --version "$byre" --
expect --shrink "$byre" resize --s
expect qcow2 "$byre" info -f q
expect writeback "$byre" convert -t w
expect json "$byre" info --output = j
expect json "$byre" commit --progress = j
expect leaks "$byre" check -r l
expect json "$byre" info --output ''
expect metadata "$byre" resize --preallocation = m
expect cluster_size= "$byre" create -f qcow2 -o c
expect compat= "$byre" amend -o c
expect refcount_bits= "$byre" convert -O qcow2 -o r
cd "$(dirname "$2")" || exit 1
expect byre "$byre" info by
complete -p byre qemu-img >/dev/null || failed=1
if [ $count -lt 100 ]; then
    count=$((count + 1))
    echo "not ok $count - too few options were found"
    failed=1
fi
echo "1..$count"
exit $failed
