/* SPDX-License-Identifier: MIT */
#include "store/store.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"

/* Written at once where a store cannot zero; aligned for direct I/O. */
#define ZEROES_BYTES 65536

static alignas(4096) const uint8_t zeroes[ZEROES_BYTES];

/* The members of the first version of struct byre_store_ops that must be set.
 */
#define STORE_OPS_LEAST_BYTES                                                  \
    (offsetof(struct byre_store_ops, get_size) +                               \
     sizeof(((struct byre_store_ops *)NULL)->get_size))

int store_new(const struct byre_store_ops *ops, void *user,
              const char *protocol, struct byre_store **ret_store,
              struct byre_error *err)
{
    struct byre_store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return fail_nomem(err, "a store", sizeof(*store));

    store->ops = *ops;
    store->user = user;
    store->protocol = protocol;
    atomic_init(&store->references, 1);
    *ret_store = store;
    return BYRE_OK;
}

int byre_store_new(const struct byre_store_ops *ops, void *user,
                   struct byre_store **ret_store, struct byre_error *err)
{
    struct byre_store_ops known;
    int r;

    if (ops == NULL || ret_store == NULL)
        return fail(err, BYRE_E_INVALID, "store ops and result are required");

    r = sized_copy_in(ops, STORE_OPS_LEAST_BYTES, &known, sizeof(known),
                      "struct byre_store_ops", err);
    if (r < 0)
        return r;

    if (known.read == NULL || known.get_size == NULL)
        return fail(err, BYRE_E_INVALID,
                    "store ops need the functions read and get_size");
    return store_new(&known, user, "store", ret_store, err);
}

struct byre_store *store_ref(struct byre_store *store)
{
    atomic_fetch_add_explicit(&store->references, 1, memory_order_relaxed);
    return store;
}

void byre_store_unref(struct byre_store *store)
{
    if (store == NULL)
        return;
    if (atomic_fetch_sub_explicit(&store->references, 1,
                                  memory_order_acq_rel) != 1)
        return;
    if (store->ops.close != NULL)
        store->ops.close(store->user);
    free(store);
}

/* A store's function fills the error it is given, so it is always given one. */
static struct byre_error *error_or(struct byre_error *err,
                                   struct byre_error *scratch)
{
    return err != NULL ? err : scratch;
}

int store_read(struct byre_store *store, uint64_t offset, void *buf,
               size_t length, struct byre_error *err)
{
    struct byre_error scratch;
    size_t readable = length;

    if (offset >= STORE_MAX_OFFSET) {
        memset(buf, 0, length);
        return BYRE_OK;
    }

    if (length > STORE_MAX_OFFSET - offset) {
        readable = (size_t)(STORE_MAX_OFFSET - offset);
        memset((uint8_t *)buf + readable, 0, length - readable);
    }
    if (readable == 0)
        return BYRE_OK;
    return store->ops.read(store->user, offset, buf, readable,
                           error_or(err, &scratch));
}

int store_get_size(struct byre_store *store, uint64_t *ret_size_bytes,
                   struct byre_error *err)
{
    struct byre_error scratch;
    uint64_t size = 0;
    int r;

    r = store->ops.get_size(store->user, &size, error_or(err, &scratch));
    if (r < 0)
        return r;

    if (size > STORE_MAX_OFFSET)
        return fail(err, BYRE_E_LIMIT,
                    "the store has %llu bytes, more than the limit of %llu",
                    (unsigned long long)size,
                    (unsigned long long)STORE_MAX_OFFSET);
    *ret_size_bytes = size;
    return BYRE_OK;
}

/* The answer for a store that cannot tell: data up to its end. */
static int extent_by_size(struct byre_store *store, uint64_t offset,
                          uint64_t length, uint32_t *ret_kind,
                          uint64_t *ret_length, struct byre_error *err)
{
    uint64_t size = 0;
    int r;

    r = store_get_size(store, &size, err);
    if (r < 0)
        return r;

    *ret_kind = offset < size ? BYRE_STORE_DATA : BYRE_STORE_HOLE;
    *ret_length = offset < size ? min_u64(size - offset, length) : length;
    return BYRE_OK;
}

int store_extent(struct byre_store *store, uint64_t offset, uint64_t length,
                 uint32_t *ret_kind, uint64_t *ret_length,
                 struct byre_error *err)
{
    struct byre_error scratch;
    uint64_t extent_length;
    uint32_t kind;
    int r;

    assert(length > 0);
    if (offset >= STORE_MAX_OFFSET) {
        *ret_kind = BYRE_STORE_HOLE;
        *ret_length = length;
        return BYRE_OK;
    }

    if (store->ops.extent == NULL)
        return extent_by_size(store, offset, length, ret_kind, ret_length, err);

    r = store->ops.extent(store->user, offset, length, &kind, &extent_length,
                          error_or(err, &scratch));
    if (r < 0)
        return r;

    if (extent_length == 0)
        return fail(err, BYRE_E_IO, "the store reports an empty extent");
    *ret_kind = kind;
    *ret_length = min_u64(extent_length, length);
    return BYRE_OK;
}

static int fail_missing(const char *function, struct byre_error *err)
{
    return fail(err, BYRE_E_UNSUPPORTED, "the store has no %s function",
                function);
}

static int fail_past_limit(const char *what, struct byre_error *err)
{
    return fail(err, BYRE_E_INVALID, "%s ends past the limit of %llu", what,
                (unsigned long long)STORE_MAX_OFFSET);
}

int store_write(struct byre_store *store, uint64_t offset, const void *buf,
                size_t length, struct byre_error *err)
{
    struct byre_error scratch;

    if (store->ops.write == NULL)
        return fail_missing("write", err);
    if (!range_within(offset, length, STORE_MAX_OFFSET))
        return fail_past_limit("a write", err);
    return store->ops.write(store->user, offset, buf, length,
                            error_or(err, &scratch));
}

int store_flush(struct byre_store *store, struct byre_error *err)
{
    struct byre_error scratch;
    int r;

    if (store->ops.flush == NULL)
        return fail_missing("flush", err);
    r = store->ops.flush(store->user, error_or(err, &scratch));
    if (r < 0)
        atomic_fetch_add(&store->failed_flushes, 1);
    return r;
}

int store_resize(struct byre_store *store, uint64_t size_bytes,
                 struct byre_error *err)
{
    struct byre_error scratch;

    if (store->ops.resize == NULL)
        return fail_missing("resize", err);
    if (size_bytes > STORE_MAX_OFFSET)
        return fail(err, BYRE_E_INVALID, "the size is past the limit of %llu",
                    (unsigned long long)STORE_MAX_OFFSET);
    return store->ops.resize(store->user, size_bytes, error_or(err, &scratch));
}

/* Writes what there is of the range as zeroes; what is past the end is none. */
static int write_zeroes(struct byre_store *store, uint64_t offset,
                        uint64_t length, struct byre_error *err)
{
    uint64_t size = 0;
    int r;

    if (store->ops.write == NULL)
        return fail_missing("write", err);
    r = store_get_size(store, &size, err);
    if (r < 0)
        return r;

    length = offset < size ? min_u64(length, size - offset) : 0;
    while (length > 0 && r == BYRE_OK) {
        /* The first ends where all that follow are aligned. */
        const uint64_t most = ZEROES_BYTES - offset % ZEROES_BYTES;
        const size_t n = (size_t)min_u64(length, most);

        r = store_write(store, offset, zeroes, n, err);
        offset += n;
        length -= n;
    }
    return r;
}

int store_zero_fast(struct byre_store *store, uint64_t offset, uint64_t length,
                    uint32_t flags, struct byre_error *err)
{
    struct byre_error scratch;

    if (!range_within(offset, length, STORE_MAX_OFFSET))
        return fail_past_limit("a zero", err);
    if (store->ops.zero == NULL)
        return fail_missing("zero", err);
    return store->ops.zero(store->user, offset, length, flags,
                           error_or(err, &scratch));
}

int store_zero(struct byre_store *store, uint64_t offset, uint64_t length,
               uint32_t flags, struct byre_error *err)
{
    const int r = store_zero_fast(store, offset, length, flags, err);

    return r == BYRE_E_UNSUPPORTED ? write_zeroes(store, offset, length, err)
                                   : r;
}

int store_discard(struct byre_store *store, uint64_t offset, uint64_t length,
                  struct byre_error *err)
{
    struct byre_error scratch;
    int r;

    if (!range_within(offset, length, STORE_MAX_OFFSET))
        return fail_past_limit("a discard", err);
    if (store->ops.discard == NULL)
        return BYRE_OK;
    r = store->ops.discard(store->user, offset, length,
                           error_or(err, &scratch));
    return r == BYRE_E_UNSUPPORTED ? BYRE_OK : r;
}

int store_make_writable(struct byre_store *store, const char *path,
                        bool no_sync, struct byre_error *err)
{
    if (store->make_writable != NULL)
        return store->make_writable(store, path, no_sync, err);
    if (store->ops.write != NULL && store->ops.flush != NULL)
        return BYRE_OK;
    return fail(err, BYRE_E_STATE,
                "the store has no functions to write and flush");
}

uint64_t store_allocated_bytes(struct byre_store *store)
{
    uint64_t bytes;

    if (store->allocated == NULL ||
        store->allocated(store->user, &bytes, NULL) < 0)
        return BYRE_NO_OFFSET;
    return bytes;
}
