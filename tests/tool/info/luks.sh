# Without this the LUKS header could be shown wrong, or need a passphrase.
. "$TOOLS/functions.sh"
make_luks
mask_luks() {
    sed -e 's/^\( *uuid:\).*/\1 UUID/' -e 's/\("uuid":\).*/\1 UUID,/' \
        -e 's/^\( *[a-z ]*iters:\).*/\1 N/' -e 's/\(iters":\) [0-9]*/\1 N/'
}
byre info l.qcow2 | mask_info | mask_luks
byre info --output=json l.qcow2 | mask_info | mask_luks |
    sed -n '/"encrypt"/,/"corrupt"/p;/"encrypted"/p'
# The values that are masked above are those that QEMU reads.
"$BYRE" info l.qcow2 | grep -E 'uuid|iters' >ours
qemu-img info l.qcow2 | grep -E 'uuid|iters' | diff ours - && echo same
