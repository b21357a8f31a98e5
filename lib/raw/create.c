/* SPDX-License-Identifier: MIT */
#include "raw/create.h"

#include "base/error.h"

int raw_create_check(const struct byre_create_options *opts,
                     struct byre_error *err)
{
    if (opts->preallocation == BYRE_PREALLOCATION_METADATA)
        return fail(err, BYRE_E_INVALID,
                    "Unsupported preallocation mode: metadata; a raw disk has "
                    "none, there are off, falloc and full");
    if (opts->backing_name != NULL)
        return fail(err, BYRE_E_INVALID,
                    "Backing file not supported for file format 'raw'");
    if (opts->encryption != BYRE_ENCRYPTION_NONE)
        return fail(err, BYRE_E_INVALID,
                    "encryption is not supported for file format 'raw'");
    return BYRE_OK;
}

int raw_create(struct filler *filler, uint64_t size_bytes,
               uint32_t preallocation, struct byre_error *err)
{
    int r;

    r = filler_extend(filler, size_bytes, err);
    if (r == BYRE_OK && preallocation == BYRE_PREALLOCATION_OFF)
        r = filler_zero(filler, 0, size_bytes, err);
    if (r == BYRE_OK)
        r = filler_reserve(filler, 0, size_bytes, preallocation, err);
    if (r == BYRE_OK)
        r = filler_barrier(filler, err);
    return r;
}
