/* SPDX-License-Identifier: MIT */
#include "store/slice.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

struct slice_store {
    struct byre_store *base;
    uint64_t offset;
    uint64_t length; /* BYRE_NO_OFFSET: up to the end of the base */
};

static bool is_fixed(const struct slice_store *slice)
{
    return slice->length != BYRE_NO_OFFSET;
}

/* How much of the range is in the window. */
static uint64_t clip(const struct slice_store *slice, uint64_t offset,
                     uint64_t length)
{
    const uint64_t end =
        is_fixed(slice) ? slice->length : STORE_MAX_OFFSET - slice->offset;

    return offset < end ? min_u64(end - offset, length) : 0;
}

static int slice_read(void *user, uint64_t offset, void *buf, size_t length,
                      struct byre_error *err)
{
    struct slice_store *slice = user;
    const size_t readable = (size_t)clip(slice, offset, length);

    memset((uint8_t *)buf + readable, 0, length - readable);
    if (readable == 0)
        return BYRE_OK;
    return store_read(slice->base, slice->offset + offset, buf, readable, err);
}

static int slice_get_size(void *user, uint64_t *ret_size_bytes,
                          struct byre_error *err)
{
    struct slice_store *slice = user;

    uint64_t base_bytes = 0;
    int r;

    if (is_fixed(slice)) {
        *ret_size_bytes = slice->length;
        return BYRE_OK;
    }
    r = store_get_size(slice->base, &base_bytes, err);
    if (r < 0)
        return r;
    *ret_size_bytes =
        base_bytes > slice->offset ? base_bytes - slice->offset : 0;
    return BYRE_OK;
}

static int slice_extent(void *user, uint64_t offset, uint64_t length,
                        uint32_t *ret_kind, uint64_t *ret_length,
                        struct byre_error *err)
{
    struct slice_store *slice = user;

    if (clip(slice, offset, length) == 0) {
        *ret_kind = BYRE_STORE_HOLE;
        *ret_length = length;
        return BYRE_OK;
    }
    return store_extent(slice->base, slice->offset + offset,
                        clip(slice, offset, length), ret_kind, ret_length, err);
}

static int slice_write(void *user, uint64_t offset, const void *buf,
                       size_t length, struct byre_error *err)
{
    struct slice_store *slice = user;

    if (is_fixed(slice) && clip(slice, offset, length) < length)
        return fail(err, BYRE_E_LIMIT,
                    "a write of %zu bytes at %llu does not fit the window of "
                    "the file, which has a fixed size of %llu bytes",
                    length, (unsigned long long)offset,
                    (unsigned long long)slice->length);
    return store_write(slice->base, slice->offset + offset, buf, length, err);
}

static int slice_flush(void *user, struct byre_error *err)
{
    struct slice_store *slice = user;

    return store_flush(slice->base, err);
}

static int slice_resize(void *user, uint64_t size_bytes, struct byre_error *err)
{
    struct slice_store *slice = user;

    if (!is_fixed(slice))
        return store_resize(slice->base, slice->offset + size_bytes, err);
    if (size_bytes == slice->length)
        return BYRE_OK;
    return fail(err, BYRE_E_UNSUPPORTED,
                "cannot resize to %llu bytes: the window of the file has a "
                "fixed size of %llu bytes; one without a size can be resized",
                (unsigned long long)size_bytes,
                (unsigned long long)slice->length);
}

static int slice_zero(void *user, uint64_t offset, uint64_t length,
                      uint32_t flags, struct byre_error *err)
{
    struct slice_store *slice = user;
    const uint64_t inside = clip(slice, offset, length);

    if (inside == 0)
        return BYRE_OK;
    return store_zero(slice->base, slice->offset + offset, inside, flags, err);
}

static int slice_discard(void *user, uint64_t offset, uint64_t length,
                         struct byre_error *err)
{
    struct slice_store *slice = user;
    const uint64_t inside = clip(slice, offset, length);

    if (inside == 0)
        return BYRE_OK;
    return store_discard(slice->base, slice->offset + offset, inside, err);
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

/* What the base lacks is missing here too. */
static struct byre_store_ops ops_like(const struct byre_store_ops *base)
{
    return (struct byre_store_ops){
        .size = sizeof(struct byre_store_ops),
        .read = slice_read,
        .get_size = slice_get_size,
        .extent = slice_extent,
        .write = base->write != NULL ? slice_write : NULL,
        .flush = base->flush != NULL ? slice_flush : NULL,
        .resize = base->resize != NULL ? slice_resize : NULL,
        .zero = base->zero != NULL ? slice_zero : NULL,
        .close = slice_close,
        .discard = base->discard != NULL ? slice_discard : NULL,
    };
}

/* As its base, which may get functions that it lacked. */
static int slice_make_writable(struct byre_store *store, const char *path,
                               bool no_sync, struct byre_error *err)
{
    struct slice_store *slice = store->user;
    int r;

    r = store_make_writable(slice->base, path, no_sync, err);
    if (r == BYRE_OK)
        store->ops = ops_like(&slice->base->ops);
    return r;
}

int slice_store_new(struct byre_store *base, uint64_t offset, uint64_t length,
                    struct byre_store **ret_store, struct byre_error *err)
{
    const struct byre_store_ops ops = ops_like(&base->ops);
    struct slice_store *slice;
    uint64_t base_bytes, now;
    int r;

    r = store_get_size(base, &base_bytes, err);
    if (r < 0)
        return r;

    now = length != BYRE_NO_OFFSET ? length : 0;
    if (!range_within(offset, now, base_bytes))
        return fail(err, BYRE_E_INVALID,
                    "offset %llu with size %llu does not fit a file of %llu "
                    "bytes",
                    (unsigned long long)offset, (unsigned long long)now,
                    (unsigned long long)base_bytes);

    slice = malloc(sizeof(*slice));
    if (slice == NULL)
        return fail_nomem(err, "a slice of a store", sizeof(*slice));

    *slice = (struct slice_store){ store_ref(base), offset, length };
    r = store_new(&ops, slice, base->protocol, ret_store, err);
    if (r < 0) {
        slice_close(slice);
        return r;
    }
    (*ret_store)->identity = base->identity;
    (*ret_store)->file_offset = base->file_offset + offset;
    (*ret_store)->allocated = slice_allocated;
    (*ret_store)->make_writable = slice_make_writable;
    return BYRE_OK;
}
