#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install-packages.sh GROUP...: installs the Debian packages that tests/packages
# lists for these groups.  Where all of them are there it asks nobody and needs
# no network.  On another system it prints the list and goes on.
set -eu

here=$(dirname "$0")
groups=" $* "
packages=$(awk -v groups="$groups" '
    /^[^#]/ && NF == 2 && index(groups, " " $1 " ") && !seen[$2]++ { print $2 }
' "$here/packages")

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system; these packages (by their Debian names)"
    echo "are needed:" $packages
    exit 0
fi

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Packages are missing, and this is neither root nor is there sudo."
        echo "As root, run: apt-get install$missing"
        exit 1
    fi >&2
    as_root=sudo
fi

echo "Installing:$missing"
$as_root apt-get update -q
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
    --no-install-recommends $missing </dev/null
