/* SPDX-License-Identifier: MIT */
/*
 * Sets of four slots; a slice may be in any slot of the set its offset hashes
 * to.  The victim is the first slot not used since the last time one was
 * needed.  Hits only ever write the `used` mark, and only when it is clear, so
 * that threads do not fight over its cache line.
 */
#include "engine/table_slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"

#define LEAST_SETS 16

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
    cache->listed = calloc(slot_count, sizeof(struct slot *));
    if (cache->slots == NULL || cache->listed == NULL) {
        free(cache->slots);
        free(cache->listed);
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
    for (size_t i = 0; i < table_cache_slots(cache); i++)
        free(atomic_load(&cache->slots[i].words));
    pthread_mutex_destroy(&cache->lock);
    free(cache->slots);
    free(cache->listed);
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

static struct slot *find_slot(struct slot *set, uint64_t host_offset)
{
    for (unsigned way = 0; way < WAYS; way++) {
        if (atomic_load(&set[way].host_offset) == host_offset)
            return &set[way];
    }
    return NULL;
}

static bool is_free(const struct slot *slot)
{
    return !slot->changed && !slot->being_written;
}

/* The slot to replace; NULL if all hold what is not written yet. */
static struct slot *choose_victim(struct slot *set)
{
    for (unsigned way = 0; way < WAYS; way++) {
        if (is_free(&set[way]) && !atomic_exchange(&set[way].used, false))
            return &set[way];
    }
    for (unsigned way = 0; way < WAYS; way++) {
        if (is_free(&set[way]))
            return &set[way];
    }
    return NULL;
}

/* Between these two, readers do not believe what they see. */
static void begin_change(struct slot *slot)
{
    const unsigned sequence = atomic_load(&slot->sequence);

    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
}

static void end_change(struct slot *slot)
{
    const unsigned sequence = atomic_load(&slot->sequence);

    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_release);
}

static void fill_slot(struct slot *slot, uint64_t host_offset,
                      const uint8_t *bytes, uint32_t slice_bytes)
{
    _Atomic uint64_t *words = atomic_load(&slot->words);

    begin_change(slot);
    atomic_store_explicit(&slot->host_offset, host_offset,
                          memory_order_release);
    for (uint32_t i = 0; i < slice_bytes / 8; i++)
        atomic_store_explicit(&words[i], be64_get(bytes + i * 8),
                              memory_order_release);
    atomic_store_explicit(&slot->used, true, memory_order_relaxed);
    end_change(slot);
}

/* Puts a slice in that is not there; called locked. */
static int put_slice(struct table_cache *cache, uint64_t host_offset,
                     const uint8_t *bytes, struct byre_error *err)
{
    struct slot *slot = choose_victim(set_of(cache, host_offset));
    _Atomic uint64_t *words;

    if (slot == NULL)
        return TABLE_CACHE_FULL;

    words = atomic_load(&slot->words);
    if (words == NULL) {
        words = calloc(1, cache->slice_bytes);
        if (words == NULL)
            return fail_nomem(err, "an L2 table slice", cache->slice_bytes);
        atomic_store(&slot->words, words);
    }
    fill_slot(slot, host_offset, bytes, cache->slice_bytes);
    return BYRE_OK;
}

static int read_slice(struct table_cache *cache, uint64_t host_offset,
                      uint8_t *bytes, struct byre_error *err)
{
    int r;

    r = store_read(cache->store, host_offset, bytes, cache->slice_bytes, err);
    if (r < 0)
        error_prefix(err, "L2 table");
    return r;
}

int table_cache_peek(struct table_cache *cache, uint64_t host_offset,
                     struct table_copy *copy, struct table_view *ret_view,
                     struct byre_error *err)
{
    uint8_t bytes[TABLE_SLICE_MAX_BYTES];
    int r;

    r = read_slice(cache, host_offset, bytes, err);
    if (r < 0)
        return r;

    for (uint32_t i = 0; i < cache->slice_bytes / 8; i++)
        atomic_init(&copy->words[i], be64_get(bytes + i * 8));
    atomic_init(&copy->sequence, 0);
    *ret_view = (struct table_view){ .words = copy->words,
                                     .sequence_count = &copy->sequence };
    return BYRE_OK;
}

/*
 * What was read from the file is older than what a batch has written meanwhile:
 * then it is read again.
 */
int table_cache_load(struct table_cache *cache, uint64_t host_offset,
                     struct byre_error *err)
{
    uint8_t bytes[TABLE_SLICE_MAX_BYTES];
    uint64_t generation;
    bool stale;
    int r;

    assert(host_offset != EMPTY_SLOT);
    do {
        generation = atomic_load(&cache->generation);
        r = read_slice(cache, host_offset, bytes, err);
        if (r < 0)
            return r;

        pthread_mutex_lock(&cache->lock);
        stale = false;
        if (find_slot(set_of(cache, host_offset), host_offset) == NULL) {
            stale = generation != atomic_load(&cache->generation);
            if (!stale)
                r = put_slice(cache, host_offset, bytes, err);
        }
        pthread_mutex_unlock(&cache->lock);
    } while (stale);
    return r;
}

/* ---- Changing ---- */

bool table_cache_change(struct table_cache *cache, uint64_t host_offset,
                        uint32_t first, const uint64_t *words, uint32_t count)
{
    struct slot *slot;

    pthread_mutex_lock(&cache->lock);
    slot = find_slot(set_of(cache, host_offset), host_offset);
    if (slot != NULL) {
        _Atomic uint64_t *to = atomic_load(&slot->words);

        begin_change(slot);
        for (uint32_t i = 0; i < count; i++)
            atomic_store_explicit(&to[first + i], words[i],
                                  memory_order_release);
        end_change(slot);
        table_slot_changed(cache, slot);
    }
    pthread_mutex_unlock(&cache->lock);
    return slot != NULL;
}

static void forget_slot(struct slot *slot)
{
    slot->changed = false;
    begin_change(slot);
    atomic_store_explicit(&slot->host_offset, EMPTY_SLOT, memory_order_release);
    end_change(slot);
}

void table_cache_forget(struct table_cache *cache, uint64_t host_offset,
                        uint64_t bytes)
{
    pthread_mutex_lock(&cache->lock);
    atomic_fetch_add(&cache->generation, 1);
    for (uint64_t at = 0; at < bytes; at += cache->slice_bytes) {
        struct slot *slot =
            find_slot(set_of(cache, host_offset + at), host_offset + at);

        if (slot != NULL)
            forget_slot(slot);
    }
    pthread_mutex_unlock(&cache->lock);
}

void table_cache_clear(struct table_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    atomic_fetch_add(&cache->generation, 1);
    for (size_t i = 0; i < table_cache_slots(cache); i++)
        forget_slot(&cache->slots[i]);
    pthread_mutex_unlock(&cache->lock);
}
