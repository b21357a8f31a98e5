#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check-checks.sh: the checks of the tree find what they are there to find.
# Deleted, a check could break and then pass for ever.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bad=0

# Expects `check` to complain about the tree, with a line that holds `text`.
expect() {
    local check=$1 text=$2 out
    if out=$("$here/$check" "$scratch/tree" 2>&1); then
        echo "$check passes a tree where it should say: $text"
        bad=1
    elif ! grep -qF -- "$text" <<<"$out"; then
        printf '%s says:\n%s\ninstead of: %s\n' "$check" "$out" "$text"
        bad=1
    fi
}

# A tree that every check passes, but for what the caller adds to it.
fresh_tree() {
    rm -rf "$scratch/tree"
    mkdir -p "$scratch/tree"/{include,lib/{base,qcow2},tool}
    cp "$here/../.clang-format" "$scratch/tree"
    cd "$scratch/tree"
    echo 'int byre;' >include/byre.h
    echo '#include "byre.h"' >lib/base/bytes.h
    echo '#include "base/bytes.h"' >lib/qcow2/map.h
    echo '#include "byre.h"' >tool/main.c
    for check in check-includes.sh check-size.sh; do
        "$here/$check" "$scratch/tree"
    done
}

fresh_tree
echo '#include "qcow2/map.h"' >lib/base/error.c
expect check-includes.sh 'lib/base/error.c:1: "qcow2/map.h" is below base'

fresh_tree
echo '# include "base/bytes.h"' >tool/info.c
expect check-includes.sh 'is neither byre.h nor a file of tool'

fresh_tree
echo '#include <qcow2/map.h>' >tool/info.c
expect check-includes.sh 'is neither byre.h nor a file of tool'

fresh_tree
mkdir lib/attic
expect check-includes.sh 'lib/attic is in no place'

fresh_tree
printf 'int f(void)\n{\n' >lib/base/long.c
printf ';%.0s\n' {1..79} >>lib/base/long.c
echo '}' >>lib/base/long.c
expect check-size.sh 'lib/base/long.c:2: function of 81 lines'

fresh_tree
printf '// %s\n' {1..601} >lib/base/long.c
expect check-size.sh 'lib/base/long.c: 601 lines'

fresh_tree
status=0
"$here/check-format.sh" "$scratch/tree" || status=$?
if [ $status -ne 77 ]; then
    echo 'int  two_spaces;' >lib/base/bytes.c
    expect check-format.sh '-int  two_spaces;'
fi

fresh_tree
mkdir examples
echo 'int main(void);' >examples/read_disk.c
printf '```c\nint main();\n```\n' >README.md
expect check-readme.sh '< int main();'
exit $bad
