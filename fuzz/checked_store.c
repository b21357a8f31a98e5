/* SPDX-License-Identifier: MIT */
#include "checked_store.h"

#include <errno.h>

static int refuse(struct checked_store *checked, int sys_errno, const char *why,
                  struct byre_error *err)
{
    checked->failed = true;
    err->code = BYRE_E_IO;
    err->sys_errno = sys_errno;
    err->offset = BYRE_NO_OFFSET;
    snprintf(err->message, sizeof(err->message), "%s", why);
    return BYRE_E_IO;
}

static int count_call(struct checked_store *checked, struct byre_error *err)
{
    if (checked->calls_left == 0)
        return refuse(checked, EIO, "no more calls", err);
    checked->calls_left--;
    return BYRE_OK;
}

static int count_change(struct checked_store *checked, struct byre_error *err)
{
    if (++checked->changes == checked->failing_change)
        return refuse(checked, EIO, "told to fail", err);
    return count_call(checked, err);
}

static void check_kept(const struct checked_store *checked, uint64_t start,
                       uint64_t end)
{
    for (size_t i = 0; i < checked->kept_count; i++)
        FUZZ_ASSERT(end <= checked->kept[i].start ||
                    start >= checked->kept[i].end);
}

static int set_length(struct checked_store *checked, uint64_t length,
                      struct byre_error *err)
{
    size_t capacity = checked->capacity;

    if (length > CHECKED_MAX_BYTES)
        return refuse(checked, ENOSPC, "no room", err);
    if (length > capacity) {
        capacity = capacity * 2 > length ? capacity * 2 : (size_t)length;
        checked->bytes = realloc(checked->bytes, capacity);
        FUZZ_ASSERT(checked->bytes != NULL);
        checked->capacity = capacity;
    }
    if (length > checked->length)
        memset(checked->bytes + checked->length, 0,
               (size_t)length - checked->length);
    checked->length = (size_t)length;
    return BYRE_OK;
}

/* ---- Operations ---- */

static int checked_read(void *user, uint64_t offset, void *buf, size_t length,
                        struct byre_error *err)
{
    struct checked_store *checked = user;
    size_t n = 0;
    int r;

    r = count_call(checked, err);
    if (r < 0)
        return r;
    if (offset < checked->length)
        n = checked->length - (size_t)offset;
    if (n > length)
        n = length;
    if (n > 0)
        memcpy(buf, checked->bytes + offset, n);
    memset((uint8_t *)buf + n, 0, length - n);
    return BYRE_OK;
}

static int checked_get_size(void *user, uint64_t *ret_size_bytes,
                            struct byre_error *err)
{
    const struct checked_store *checked = user;

    (void)err;
    *ret_size_bytes = checked->length;
    return BYRE_OK;
}

static int checked_write(void *user, uint64_t offset, const void *buf,
                         size_t length, struct byre_error *err)
{
    struct checked_store *checked = user;
    int r;

    FUZZ_ASSERT(offset <= INT64_MAX && length <= INT64_MAX - offset);
    r = count_change(checked, err);
    if (r < 0)
        return r;
    check_kept(checked, offset, offset + length);
    if (offset + length > checked->length)
        r = set_length(checked, offset + length, err);
    if (r == BYRE_OK && length > 0)
        memcpy(checked->bytes + offset, buf, length);
    return r;
}

static int checked_flush(void *user, struct byre_error *err)
{
    return count_change(user, err);
}

static int checked_resize(void *user, uint64_t size_bytes,
                          struct byre_error *err)
{
    struct checked_store *checked = user;
    int r;

    r = count_change(checked, err);
    if (r < 0)
        return r;
    check_kept(checked, size_bytes, UINT64_MAX);
    return set_length(checked, size_bytes, err);
}

static int checked_zero(void *user, uint64_t offset, uint64_t length,
                        uint32_t flags, struct byre_error *err)
{
    struct checked_store *checked = user;
    int r;

    FUZZ_ASSERT((flags & ~BYRE_STORE_MAY_UNMAP) == 0);
    FUZZ_ASSERT(offset <= INT64_MAX && length <= INT64_MAX - offset);
    r = count_change(checked, err);
    if (r < 0)
        return r;
    check_kept(checked, offset, offset + length);
    if (offset >= checked->length)
        return BYRE_OK;
    if (length > checked->length - offset)
        length = checked->length - offset;
    memset(checked->bytes + offset, 0, (size_t)length);
    return BYRE_OK;
}

/* Who still needs the bytes shall notice. */
static int checked_discard(void *user, uint64_t offset, uint64_t length,
                           struct byre_error *err)
{
    return checked_zero(user, offset, length, BYRE_STORE_MAY_UNMAP, err);
}

/* ---- The store ---- */

void checked_store_init(struct checked_store *checked, const uint8_t *data,
                        size_t length)
{
    *checked = (struct checked_store){
        .bytes = fuzz_alloc(length),
        .length = length,
        .capacity = length,
        .calls_left = CHECKED_MAX_CALLS,
    };
    if (length > 0)
        memcpy(checked->bytes, data, length);
}

void checked_store_done(struct checked_store *checked)
{
    free(checked->bytes);
}

void checked_store_keep(struct checked_store *checked, uint64_t start,
                        uint64_t end)
{
    FUZZ_ASSERT(checked->kept_count < CHECKED_MAX_RANGES);
    if (start < end)
        checked->kept[checked->kept_count++] =
            (struct checked_range){ .start = start, .end = end };
}

void checked_store_heal(struct checked_store *checked)
{
    checked->failing_change = 0;
    checked->calls_left = CHECKED_MAX_CALLS;
    checked->failed = false;
}

struct byre_store *checked_store_new(struct checked_store *checked, bool sparse)
{
    struct byre_store_ops ops = {
        .size = sizeof(ops),
        .read = checked_read,
        .get_size = checked_get_size,
        .write = checked_write,
        .flush = checked_flush,
        .resize = checked_resize,
    };
    struct byre_store *store = NULL;

    if (sparse) {
        ops.zero = checked_zero;
        ops.discard = checked_discard;
    }
    FUZZ_ASSERT(byre_store_new(&ops, checked, &store, NULL) == BYRE_OK);
    return store;
}
