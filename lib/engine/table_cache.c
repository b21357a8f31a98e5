/* SPDX-License-Identifier: MIT */
/*
 * Sets of four slots; a slice may be in any slot of the set its offset hashes
 * to.  The victim is the first slot not used since the last time one was
 * needed.  Hits only ever write the `used` mark, and only when it is clear, so
 * that threads do not fight over its cache line.
 */
#include "engine/table_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"

#define WAYS       4
#define LEAST_SETS 16
#define EMPTY_SLOT UINT64_MAX

struct slot {
    atomic_uint sequence; /* odd while the slot changes */
    atomic_bool used;
    _Atomic uint64_t host_offset;      /* or EMPTY_SLOT */
    _Atomic(_Atomic uint64_t *) words; /* allocated with the first slice */
};

struct table_cache {
    struct byre_store *store;
    uint32_t slice_bytes;
    uint32_t set_bits;
    pthread_mutex_t lock; /* of whoever changes a slot */
    struct slot *slots;
};

static uint32_t bits_for_sets(uint64_t sets)
{
    uint32_t bits = 0;

    while (bits < 24 && (UINT64_C(2) << bits) <= sets)
        bits++;
    return bits;
}

int table_cache_new(struct byre_store *store, uint32_t slice_bytes,
                    uint64_t budget_bytes, struct table_cache **ret_cache,
                    struct byre_error *err)
{
    const uint64_t sets = budget_bytes / ((uint64_t)slice_bytes * WAYS);
    struct table_cache *cache;
    size_t slot_count;

    assert(slice_bytes % 8 == 0 && slice_bytes <= TABLE_SLICE_MAX_BYTES);
    cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return fail_nomem(err, "a table cache", sizeof(*cache));

    cache->store = store;
    cache->slice_bytes = slice_bytes;
    cache->set_bits = bits_for_sets(max_u64(sets, LEAST_SETS));
    slot_count = (size_t)WAYS << cache->set_bits;
    cache->slots = calloc(slot_count, sizeof(struct slot));
    if (cache->slots == NULL) {
        free(cache);
        return fail_nomem(err, "a table cache",
                          slot_count * sizeof(struct slot));
    }

    for (size_t i = 0; i < slot_count; i++)
        atomic_init(&cache->slots[i].host_offset, EMPTY_SLOT);
    pthread_mutex_init(&cache->lock, NULL);
    *ret_cache = cache;
    return BYRE_OK;
}

void table_cache_free(struct table_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < (size_t)WAYS << cache->set_bits; i++)
        free(atomic_load(&cache->slots[i].words));
    pthread_mutex_destroy(&cache->lock);
    free(cache->slots);
    free(cache);
}

/* Fibonacci hashing: tables lie at multiples of the cluster size. */
static struct slot *set_of(struct table_cache *cache, uint64_t host_offset)
{
    const uint64_t hash = host_offset / 8 * UINT64_C(0x9e3779b97f4a7c15);

    return &cache->slots[(size_t)(hash >> (64 - 24) >> (24 - cache->set_bits)) *
                         WAYS];
}

bool table_cache_find(struct table_cache *cache, uint64_t host_offset,
                      struct table_view *ret_view)
{
    struct slot *set = set_of(cache, host_offset);

    for (unsigned way = 0; way < WAYS; way++) {
        struct slot *slot = &set[way];
        const unsigned sequence =
            atomic_load_explicit(&slot->sequence, memory_order_acquire);

        if (atomic_load_explicit(&slot->host_offset, memory_order_acquire) !=
                host_offset ||
            sequence % 2 != 0)
            continue;
        if (!atomic_load_explicit(&slot->used, memory_order_relaxed))
            atomic_store_explicit(&slot->used, true, memory_order_relaxed);
        *ret_view = (struct table_view){
            .words = atomic_load_explicit(&slot->words, memory_order_acquire),
            .sequence_count = &slot->sequence,
            .sequence = sequence,
        };
        return true;
    }
    return false;
}

/* The slot to replace: one that already holds the slice, or a victim. */
static struct slot *choose_slot(struct slot *set, uint64_t host_offset)
{
    for (unsigned way = 0; way < WAYS; way++) {
        if (atomic_load(&set[way].host_offset) == host_offset)
            return &set[way];
    }
    for (unsigned way = 0; way < WAYS; way++) {
        if (!atomic_exchange(&set[way].used, false))
            return &set[way];
    }
    return &set[0];
}

static void fill_slot(struct slot *slot, uint64_t host_offset,
                      const uint8_t *bytes, uint32_t slice_bytes)
{
    _Atomic uint64_t *words = atomic_load(&slot->words);
    const unsigned sequence = atomic_load(&slot->sequence);

    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
    atomic_store_explicit(&slot->host_offset, host_offset,
                          memory_order_release);
    for (uint32_t i = 0; i < slice_bytes / 8; i++)
        atomic_store_explicit(&words[i], be64_get(bytes + i * 8),
                              memory_order_release);
    atomic_store_explicit(&slot->used, true, memory_order_relaxed);
    atomic_store_explicit(&slot->sequence, sequence + 2, memory_order_release);
}

int table_cache_load(struct table_cache *cache, uint64_t host_offset,
                     struct byre_error *err)
{
    uint8_t bytes[TABLE_SLICE_MAX_BYTES];
    _Atomic uint64_t *words;
    struct slot *slot;
    int r;

    assert(host_offset != EMPTY_SLOT);
    r = store_read(cache->store, host_offset, bytes, cache->slice_bytes, err);
    if (r < 0) {
        error_prefix(err, "L2 table");
        return r;
    }

    pthread_mutex_lock(&cache->lock);
    slot = choose_slot(set_of(cache, host_offset), host_offset);
    words = atomic_load(&slot->words);
    if (words == NULL) {
        words = calloc(1, cache->slice_bytes);
        atomic_store(&slot->words, words);
    }
    if (words != NULL)
        fill_slot(slot, host_offset, bytes, cache->slice_bytes);
    else
        r = fail_nomem(err, "an L2 table slice", cache->slice_bytes);
    pthread_mutex_unlock(&cache->lock);
    return r;
}
