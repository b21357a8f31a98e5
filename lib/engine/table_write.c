/* SPDX-License-Identifier: MIT */
/*
 * Writing changed slices back.  A batch is a copy, so that threads go on
 * changing slices while it is written: what they add points to things that this
 * flush has not made durable.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "engine/table_slots.h"

struct table_slice {
    uint64_t host_offset;
    struct slot *slot;
};

struct table_batch {
    size_t count;
    struct table_slice *slices; /* in ascending order */
    uint8_t *bytes;             /* of all, in that order */
};

static int by_offset(const void *a, const void *b)
{
    const struct table_slice *x = a, *y = b;

    return x->host_offset < y->host_offset ? -1
                                           : x->host_offset > y->host_offset;
}

static void batch_free(struct table_batch *batch)
{
    if (batch == NULL)
        return;
    free(batch->slices);
    free(batch->bytes);
    free(batch);
}

static int batch_new(const struct table_cache *cache, size_t count,
                     struct table_batch **ret_batch, struct byre_error *err)
{
    struct table_batch *batch = calloc(1, sizeof(*batch));

    if (batch != NULL) {
        batch->slices = calloc(count, sizeof(*batch->slices));
        batch->bytes = malloc(count * cache->slice_bytes);
    }
    if (batch == NULL || batch->slices == NULL || batch->bytes == NULL) {
        batch_free(batch);
        return fail_nomem(err, "changed L2 tables", count * cache->slice_bytes);
    }
    *ret_batch = batch;
    return BYRE_OK;
}

static void copy_slice(const struct table_cache *cache, const struct slot *slot,
                       uint8_t *ret_bytes)
{
    const _Atomic uint64_t *words = atomic_load(&slot->words);

    for (uint32_t i = 0; i < cache->slice_bytes / 8; i++)
        be64_put(ret_bytes + i * 8,
                 atomic_load_explicit(&words[i], memory_order_relaxed));
}

/* Called locked. */
static void take_changed(struct table_cache *cache, struct table_batch *batch)
{
    for (size_t i = 0; i < cache->listed_count; i++) {
        struct slot *slot = cache->listed[i];

        slot->listed = false;
        if (slot->changed)
            batch->slices[batch->count++] = (struct table_slice){
                .host_offset = atomic_load(&slot->host_offset), .slot = slot
            };
    }
    cache->listed_count = 0;
    qsort(batch->slices, batch->count, sizeof(*batch->slices), by_offset);
    for (size_t i = 0; i < batch->count; i++) {
        struct slot *slot = batch->slices[i].slot;

        copy_slice(cache, slot, batch->bytes + i * cache->slice_bytes);
        slot->changed = false;
        slot->being_written = true;
    }
}

int table_cache_take_changed(struct table_cache *cache,
                             struct table_batch **ret_batch,
                             struct byre_error *err)
{
    struct table_batch *batch = NULL;
    int r = BYRE_OK;

    pthread_mutex_lock(&cache->lock);
    if (cache->listed_count > 0) {
        r = batch_new(cache, cache->listed_count, &batch, err);
        if (r == BYRE_OK)
            take_changed(cache, batch);
    }
    pthread_mutex_unlock(&cache->lock);
    if (r == BYRE_OK)
        *ret_batch = batch;
    return r;
}

#define MOST_WRITE_BYTES (UINT64_C(1) << 20)

/* Neighbours go in one write. */
static size_t run_length(const struct table_cache *cache,
                         const struct table_batch *batch, size_t first)
{
    size_t n = 1;

    while (first + n < batch->count &&
           (n + 1) * cache->slice_bytes <= MOST_WRITE_BYTES &&
           batch->slices[first + n].host_offset ==
               batch->slices[first].host_offset + n * cache->slice_bytes)
        n++;
    return n;
}

int table_batch_write(struct table_cache *cache,
                      const struct table_batch *batch, struct byre_error *err)
{
    for (size_t i = 0; i < batch->count;) {
        const size_t n = run_length(cache, batch, i);
        int r;

        r = store_write(cache->store, batch->slices[i].host_offset,
                        batch->bytes + i * cache->slice_bytes,
                        n * cache->slice_bytes, err);
        if (r < 0) {
            error_prefix(err, "L2 table");
            return r;
        }
        i += n;
    }
    return BYRE_OK;
}

void table_batch_done(struct table_cache *cache, struct table_batch *batch,
                      bool written)
{
    if (batch == NULL)
        return;
    pthread_mutex_lock(&cache->lock);
    atomic_fetch_add(&cache->generation, 1);
    for (size_t i = 0; i < batch->count; i++) {
        struct slot *slot = batch->slices[i].slot;

        slot->being_written = false;
        if (!written &&
            atomic_load(&slot->host_offset) == batch->slices[i].host_offset)
            table_slot_changed(cache, slot);
    }
    pthread_mutex_unlock(&cache->lock);
    batch_free(batch);
}
