/* SPDX-License-Identifier: MIT */
#include "raw/raw_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/header.h"
#include "store/file.h"

#define ZEROES_BYTES (UINT64_C(1) << 20)

static int check(struct raw *raw, struct byre_error *err)
{
    if (!atomic_load_explicit(&raw->stuck, memory_order_relaxed))
        return BYRE_OK;
    return fail(err, BYRE_E_STATE,
                "the disk can only be read since a flush failed; close it and "
                "open it again");
}

int raw_prepare_write(struct engine *engine,
                      const struct write_options *options,
                      struct byre_error *err)
{
    struct raw *raw = raw_of(engine);
    int r;

    if (raw->store->ops.write == NULL || raw->store->ops.flush == NULL)
        return fail(err, BYRE_E_STATE,
                    "the store has no functions to write and flush");
    r = store_get_size(raw->store, &raw->stored_bytes, err);
    if (r < 0)
        return r;

    atomic_store(&raw->ends_short, raw->store->ops.resize != NULL &&
                                       raw->stored_bytes < engine->size_bytes);
    raw->keep_space = options->keep_space;
    atomic_store(&raw->stuck, false);
    engine->writable = true;
    return BYRE_OK;
}

/* What a format is guessed by: magic and version. */
#define PROBED_BYTES 8

static int check_stays_raw(struct raw *raw, uint64_t offset, const void *buf,
                           size_t length, struct byre_error *err)
{
    uint8_t start[PROBED_BYTES];
    uint32_t version;
    int r;

    r = store_read(raw->store, 0, start, sizeof(start), err);
    if (r < 0)
        return r;
    memcpy(start + offset, buf,
           (size_t)min_u64(length, sizeof(start) - offset));
    if (!qcow_probe(start, sizeof(start), &version) || version == 0)
        return BYRE_OK;
    return fail(err, BYRE_E_POLICY,
                "the disk's format was guessed to be raw, and this write would "
                "make it look like a QCOW image; say that it is raw to allow "
                "it");
}

/* One at a time, so that two writes cannot make up together what neither may.
 */
static int write_start(struct raw *raw, uint64_t offset, const void *buf,
                       size_t length, struct byre_error *err)
{
    int r;

    pthread_mutex_lock(&raw->start_lock);
    r = check_stays_raw(raw, offset, buf, length, err);
    if (r == BYRE_OK)
        r = store_write(raw->store, offset, buf, length, err);
    pthread_mutex_unlock(&raw->start_lock);
    return r;
}

/*
 * A file that ends inside the last sector could be torn there by the write that
 * makes it longer: half of that sector would be new and half of it old.  So it
 * gets its length first, durably.
 */
static int make_end_whole(struct raw *raw, uint64_t end, struct byre_error *err)
{
    int r = BYRE_OK;

    if (!atomic_load(&raw->ends_short) || end <= raw->stored_bytes)
        return BYRE_OK;

    pthread_mutex_lock(&raw->end_lock);
    if (atomic_load(&raw->ends_short)) {
        r = store_resize(raw->store, raw->engine.size_bytes, err);
        if (r == BYRE_OK)
            r = raw_flush(&raw->engine, err);
        if (r == BYRE_OK)
            atomic_store(&raw->ends_short, false);
    }
    pthread_mutex_unlock(&raw->end_lock);
    return r;
}

/* Where a byte lands is never in question, so there is nothing to wait for. */
int raw_write(struct engine *engine, uint64_t offset, const void *buf,
              size_t length, uint32_t flags, const struct write_order *order,
              struct byre_error *err)
{
    struct raw *raw = raw_of(engine);
    int r;

    if (order != NULL) {
        order->wait_turn(order->user);
        order->pass_turn(order->user);
    }
    if (flags & BYRE_WRITE_COMPRESSED)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "a raw disk takes no compressed clusters");
    r = check(raw, err);
    if (r == BYRE_OK)
        r = make_end_whole(raw, offset + length, err);
    if (r < 0)
        return r;
    return raw->guessed && offset < PROBED_BYTES
               ? write_start(raw, offset, buf, length, err)
               : store_write(raw->store, offset, buf, length, err);
}

int raw_zero(struct engine *engine, uint64_t offset, uint64_t length,
             uint32_t flags, struct byre_error *err)
{
    struct raw *raw = raw_of(engine);
    const uint32_t store_flags =
        (flags & BYRE_WRITE_MAY_UNMAP) != 0 && !raw->keep_space
            ? BYRE_STORE_MAY_UNMAP
            : 0;
    int r;

    r = check(raw, err);
    if (r == BYRE_OK)
        r = make_end_whole(raw, offset + length, err);
    if (r < 0)
        return r;
    return (flags & BYRE_WRITE_FAST_ZERO ? store_zero_fast : store_zero)(
        raw->store, offset, length, store_flags, err);
}

int raw_discard(struct engine *engine, uint64_t offset, uint64_t length,
                struct byre_error *err)
{
    struct raw *raw = raw_of(engine);
    int r;

    r = check(raw, err);
    if (r < 0 || raw->keep_space)
        return r;
    return store_discard(raw->store, offset, length, err);
}

int raw_flush(struct engine *engine, struct byre_error *err)
{
    struct raw *raw = raw_of(engine);
    int r;

    r = check(raw, err);
    if (r < 0)
        return r;
    r = store_flush(raw->store, err);
    if (r < 0)
        atomic_store(&raw->stuck, true);
    return r;
}

int raw_end_write(struct engine *engine, struct byre_error *err)
{
    const int r = raw_flush(engine, err);

    engine->writable = false;
    return r;
}

/* ---- The size ---- */

static int write_zeroes(struct raw *raw, uint64_t offset, uint64_t end,
                        struct byre_error *err)
{
    uint8_t *zeroes = calloc(1, ZEROES_BYTES);
    int r = BYRE_OK;

    if (zeroes == NULL)
        return fail_nomem(err, "zeroes", ZEROES_BYTES);

    while (offset < end && r == BYRE_OK) {
        const uint64_t n = min_u64(end - offset, ZEROES_BYTES);

        r = store_write(raw->store, offset, zeroes, (size_t)n, err);
        offset += n;
    }
    free(zeroes);
    return r;
}

static int fill(struct raw *raw, uint64_t from, uint64_t end,
                uint32_t preallocation, struct byre_error *err)
{
    if (from >= end || preallocation == BYRE_PREALLOCATION_OFF)
        return BYRE_OK;
    if (preallocation == BYRE_PREALLOCATION_FALLOC)
        return file_store_preallocate(raw->store, from, end - from, err);
    return write_zeroes(raw, from, end, err);
}

int raw_resize(struct engine *engine, uint64_t size_bytes,
               uint32_t preallocation, struct byre_error *err)
{
    struct raw *raw = raw_of(engine);
    const uint64_t old_bytes = engine->size_bytes;
    int r;

    r = check(raw, err);
    if (r == BYRE_OK && preallocation == BYRE_PREALLOCATION_METADATA)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "a raw disk has no metadata to preallocate; use falloc or "
                    "full");
    if (r == BYRE_OK && raw->store->identity.is_device &&
        size_bytes != old_bytes)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "a block device keeps its size of %llu bytes",
                    (unsigned long long)old_bytes);
    if (r == BYRE_OK)
        r = store_resize(raw->store, size_bytes, err);
    if (r == BYRE_OK)
        r = fill(raw, old_bytes, size_bytes, preallocation, err);
    if (r < 0) {
        if (size_bytes > old_bytes)
            store_resize(raw->store, old_bytes, NULL);
        return r;
    }
    atomic_store(&raw->ends_short, false);
    engine->size_bytes = size_bytes;
    return raw_flush(engine, err);
}
