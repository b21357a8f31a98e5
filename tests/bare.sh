#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# bare.sh [--worktree] [--keep] [COMMAND...]: proves that a bare Debian 12 can
# run what the README promises.  It makes a fresh minimal root with debootstrap,
# puts a checkout of HEAD into it (--worktree: the files as they are now), and
# runs `make demo` and `make test` there, or the commands given.  Needs root,
# debootstrap and a network; takes some minutes, so it is no part of `make test`.
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd)
release=bookworm
worktree=false
keep=false
while [[ ${1:-} == --* ]]; do
    case $1 in
    --worktree) worktree=true ;;
    --keep) keep=true ;;
    *) echo "unknown option $1" >&2 && exit 1 ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- "make demo" "make test"
[ "$(id -u)" -eq 0 ] || { echo "bare.sh needs root" >&2 && exit 1; }

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/bare.XXXXXX")
root=$scratch/root

# What is still mounted is never removed.
clean_up() {
    local mounted
    for mounted in dev/shm dev/pts dev sys proc; do
        ! mountpoint -q "$root/$mounted" || umount -l "$root/$mounted"
    done
    if $keep; then
        echo "The root is in $root"
    elif ! grep -qF " $root/" /proc/self/mounts; then
        rm -rf --one-file-system "$scratch"
    fi
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# The archives that this machine itself uses for the release: one line each of
# address, code name, component.
archives() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' |
        awk -v release=$release '$2 ~ "^" release "(-|$)"' | sort -u
}

make_root() {
    local mirror
    mirror=$(archives | awk -v release=$release \
        '$2 == release && $3 == "main" { print $1; exit }')
    [ -n "$mirror" ] || { echo "no archive of $release in use here" && exit 1; }
    debootstrap --variant=minbase --include=ca-certificates,make \
        $release "$root" "$mirror" >"$scratch/debootstrap.log" 2>&1 ||
        { tail -n 20 "$scratch/debootstrap.log" && exit 1; }

    archives | sed 's/^/deb /' >"$root/etc/apt/sources.list"
    # How this machine reaches them: proxies, expired snapshots.
    apt-config dump |
        grep -E '^Acquire::(http|https|Check|Retries)[^ ]* ".' \
            >"$root/etc/apt/apt.conf.d/99machine" || :
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

mount_root() {
    mount -t proc proc "$root/proc"
    mount --rbind --make-rslave /sys "$root/sys"
    mount --bind /dev "$root/dev"
    mount --make-private "$root/dev"
    if [ -d /dev/shm ]; then
        mount -t tmpfs tmpfs "$root/dev/shm"
    fi
}

check_out() {
    mkdir "$root/byre"
    if $worktree; then
        git -C "$tree" ls-files -z --cached --others --exclude-standard |
            tar -C "$tree" --null --ignore-failed-read -T - -cf -
    else
        git -C "$tree" archive HEAD
    fi | tar -C "$root/byre" --no-same-owner -xf -
}

echo "== a fresh $release in $root"
make_root
check_out
mount_root

status=0
for command in "$@"; do
    printf '\n== %s\n' "$command"
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C \
        ${http_proxy:+http_proxy="$http_proxy"} \
        ${https_proxy:+https_proxy="$https_proxy"} \
        chroot "$root" sh -c "cd /byre && $command" </dev/null ||
        { status=$? && printf '\n== %s failed: %d\n' "$command" "$status"; }
done
exit "$status"
