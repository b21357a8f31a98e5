/* SPDX-License-Identifier: MIT */
#include "store/slice.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

struct slice_store {
    struct byre_store *base;
    uint64_t offset;
    uint64_t length;
};

static int slice_read(void *user, uint64_t offset, void *buf, size_t length,
                      struct byre_error *err)
{
    struct slice_store *slice = user;
    const uint64_t inside = offset < slice->length ? slice->length - offset : 0;
    const size_t readable = (size_t)min_u64(inside, length);

    memset((uint8_t *)buf + readable, 0, length - readable);
    if (readable == 0)
        return BYRE_OK;
    return store_read(slice->base, slice->offset + offset, buf, readable, err);
}

static int slice_get_size(void *user, uint64_t *ret_size_bytes,
                          struct byre_error *err)
{
    struct slice_store *slice = user;

    (void)err;
    *ret_size_bytes = slice->length;
    return BYRE_OK;
}

static int slice_extent(void *user, uint64_t offset, uint64_t length,
                        uint32_t *ret_kind, uint64_t *ret_length,
                        struct byre_error *err)
{
    struct slice_store *slice = user;

    if (offset >= slice->length) {
        *ret_kind = BYRE_STORE_HOLE;
        *ret_length = length;
        return BYRE_OK;
    }
    return store_extent(slice->base, slice->offset + offset,
                        min_u64(length, slice->length - offset), ret_kind,
                        ret_length, err);
}

/* That of the whole file, as QEMU tells it. */
static int slice_allocated(void *user, uint64_t *ret_bytes,
                           struct byre_error *err)
{
    struct slice_store *slice = user;

    *ret_bytes = store_allocated_bytes(slice->base);
    return *ret_bytes != BYRE_NO_OFFSET
               ? BYRE_OK
               : fail(err, BYRE_E_UNSUPPORTED, "the store cannot tell");
}

static void slice_close(void *user)
{
    struct slice_store *slice = user;

    byre_store_unref(slice->base);
    free(slice);
}

static const struct byre_store_ops slice_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = slice_read,
    .get_size = slice_get_size,
    .extent = slice_extent,
    .close = slice_close,
};

int slice_store_new(struct byre_store *base, uint64_t offset, uint64_t length,
                    struct byre_store **ret_store, struct byre_error *err)
{
    struct slice_store *slice;
    uint64_t base_bytes;
    int r;

    r = store_get_size(base, &base_bytes, err);
    if (r < 0)
        return r;

    if (length == BYRE_NO_OFFSET && offset <= base_bytes)
        length = base_bytes - offset;
    if (!range_within(offset, length, base_bytes))
        return fail(err, BYRE_E_INVALID,
                    "offset %llu with size %llu does not fit a file of %llu "
                    "bytes",
                    (unsigned long long)offset, (unsigned long long)length,
                    (unsigned long long)base_bytes);

    slice = malloc(sizeof(*slice));
    if (slice == NULL)
        return fail_nomem(err, "a slice of a store", sizeof(*slice));

    *slice = (struct slice_store){ store_ref(base), offset, length };
    r = store_new(&slice_ops, slice, base->protocol, ret_store, err);
    if (r < 0) {
        slice_close(slice);
        return r;
    }
    (*ret_store)->identity = base->identity;
    (*ret_store)->file_offset = base->file_offset + offset;
    (*ret_store)->allocated = slice_allocated;
    return BYRE_OK;
}
