/* SPDX-License-Identifier: MIT */
/*
 * Slices in a hash table, replaced by the clock rule.  A slice may be written
 * at any time (allocator.h), so one that is dirty is written to make room.
 *
 * Stale bytes never come in: a slice is in the cache from before its load until
 * after its last write, so no read of it overlaps a write of it, and no two
 * writes of it overlap.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/allocator_internal.h"
#include "qcow2/refcount_scan.h"

/* Enough for many threads to have one each in use, one loading, one writing. */
#define LEAST_SLICES 128

int refcount_cache_init(struct allocator *a, uint64_t cache_bytes,
                        struct byre_error *err)
{
    struct refcount_cache *cache = &a->cache;
    const uint64_t limit = max_u64(
        LEAST_SLICES, min_u64(cache_bytes / a->slice_bytes, UINT32_C(1) << 24));
    size_t buckets;

    cache->limit = (size_t)limit;
    while (UINT64_C(1) << cache->bucket_bits < limit)
        cache->bucket_bits++;
    buckets = (size_t)1 << cache->bucket_bits;
    cache->slices = calloc(cache->limit, sizeof(*cache->slices));
    cache->buckets = calloc(buckets, sizeof(*cache->buckets));
    if (cache->slices == NULL || cache->buckets == NULL)
        return fail_nomem(err, "a refcount cache",
                          (cache->limit + buckets) * sizeof(*cache->slices));
    return BYRE_OK;
}

void refcount_cache_done(struct allocator *a)
{
    for (size_t i = 0; i < a->cache.count; i++)
        free(a->cache.slices[i]);
    free(a->cache.slices);
    free(a->cache.buckets);
}

/* ---- Finding ---- */

static struct refcount_slice **bucket_of(const struct refcount_cache *cache,
                                         uint64_t number)
{
    const uint64_t hash = number * UINT64_C(0x9e3779b97f4a7c15);

    return &cache->buckets[hash >> (64 - cache->bucket_bits)];
}

struct refcount_slice *refcount_cache_get(const struct refcount_cache *cache,
                                          uint64_t number)
{
    struct refcount_slice *slice = *bucket_of(cache, number);

    while (slice != NULL && slice->number != number)
        slice = slice->next;
    return slice;
}

enum slice_state refcount_slice_find(struct allocator *a, uint64_t cluster,
                                     struct refcount_slice **ret_slice)
{
    const uint64_t index = cluster >> a->block_bits;
    struct refcount_slice *slice;

    if (index >= a->table_entries || a->table[index] == 0)
        return SLICE_NO_BLOCK;
    slice = refcount_cache_get(&a->cache, cluster >> a->slice_bits);
    if (slice == NULL || slice->loading)
        return SLICE_MISSING;
    slice->used = true;
    *ret_slice = slice;
    return SLICE_HERE;
}

/* Where it is in the file; blocks never move. */
uint64_t refcount_slice_offset(const struct allocator *a, uint64_t number)
{
    const uint32_t bits = a->block_bits - a->slice_bits;
    const uint64_t in_block = number & ((UINT64_C(1) << bits) - 1);

    return a->table[number >> bits] + in_block * a->slice_bytes;
}

/* ---- Loading ---- */

static void insert(struct refcount_cache *cache, struct refcount_slice *slice)
{
    struct refcount_slice **bucket = bucket_of(cache, slice->number);

    slice->next = *bucket;
    *bucket = slice;
    cache->slices[cache->count++] = slice;
}

static void take_out(struct refcount_cache *cache, size_t i)
{
    struct refcount_slice *slice = cache->slices[i];
    struct refcount_slice **link = bucket_of(cache, slice->number);

    while (*link != slice)
        link = &(*link)->next;
    *link = slice->next;
    cache->slices[i] = cache->slices[--cache->count];
    free(slice);
}

/* The next slice that is idle and was not used for a round, or the count. */
static size_t choose_victim(struct refcount_cache *cache)
{
    for (size_t steps = 0; steps < 2 * cache->count; steps++) {
        struct refcount_slice *slice;

        cache->hand = (cache->hand + 1) % cache->count;
        slice = cache->slices[cache->hand];
        if (slice->loading || slice->writing)
            continue;
        if (!slice->used)
            return cache->hand;
        slice->used = false;
    }
    return cache->count;
}

/*
 * What was counted down after a switch of the header that may have arrived is
 * wrong in the file: a writer that must write no more writes no counts either.
 */
static int evict(struct allocator *a, struct refcount_slice *slice,
                 struct byre_error *err)
{
    struct writer *writer = &a->qcow2->writer;
    int r = BYRE_OK;

    if (writer_is_set_up(writer))
        r = writer_check(writer, err);
    return r < 0 ? r : refcount_slice_write(a, slice, err);
}

/* Makes room for one more.  Under `lock`, which may be dropped meanwhile. */
static int make_room(struct allocator *a, struct byre_error *err)
{
    struct refcount_cache *cache = &a->cache;

    while (cache->count >= cache->limit) {
        const size_t victim = choose_victim(cache);
        int r;

        if (victim == cache->count) {
            /* All are being loaded or written, and will have been. */
            pthread_cond_wait(&a->changed, &a->lock);
        } else if (cache->slices[victim]->dirty) {
            r = evict(a, cache->slices[victim], err);
            if (r < 0)
                return r;
        } else {
            take_out(cache, victim);
        }
    }
    return BYRE_OK;
}

/* Reads a slice that has just been put in.  Under `lock`, dropped meanwhile. */
static int fill(struct allocator *a, struct refcount_slice *slice,
                struct byre_error *err)
{
    const uint64_t host_offset = refcount_slice_offset(a, slice->number);
    int r;

    pthread_mutex_unlock(&a->lock);
    r = store_read(a->store, host_offset, slice->bytes, a->slice_bytes, err);
    if (r < 0)
        error_prefix(err, "refcount block");
    pthread_mutex_lock(&a->lock);
    slice->loading = false;
    for (size_t i = 0; r < 0; i++) {
        if (a->cache.slices[i] == slice) {
            take_out(&a->cache, i);
            break;
        }
    }
    pthread_cond_broadcast(&a->changed);
    return r;
}

static int load_locked(struct allocator *a, uint64_t number,
                       struct byre_error *err)
{
    struct refcount_slice *slice = refcount_cache_get(&a->cache, number);
    int r;

    if (slice == NULL) {
        r = make_room(a, err);
        if (r < 0)
            return r;
        slice = refcount_cache_get(&a->cache,
                                   number); /* somebody may have been faster */
    }
    if (slice != NULL) {
        /* Whoever loads it, or else the caller's next try, reports failure. */
        if (slice->loading)
            pthread_cond_wait(&a->changed, &a->lock);
        return BYRE_OK;
    }

    slice = calloc(1, sizeof(*slice) + a->slice_bytes);
    if (slice == NULL)
        return fail_nomem(err, "a slice of refcounts", a->slice_bytes);
    slice->number = number;
    slice->loading = true;
    slice->used = true;
    insert(&a->cache, slice);
    return fill(a, slice, err);
}

int refcount_slice_load(struct allocator *a, uint64_t cluster,
                        struct byre_error *err)
{
    int r;

    pthread_mutex_lock(&a->lock);
    r = load_locked(a, cluster >> a->slice_bits, err);
    pthread_mutex_unlock(&a->lock);
    return r;
}

/* ---- What is in a slice ---- */

uint64_t slice_get(const struct allocator *a,
                   const struct refcount_slice *slice, uint64_t cluster)
{
    return refcount_get(slice->bytes, cluster - slice_first(a, slice),
                        a->refcount_order);
}

void slice_put(const struct allocator *a, struct refcount_slice *slice,
               uint64_t cluster, uint64_t count)
{
    refcount_put(slice->bytes, cluster - slice_first(a, slice),
                 a->refcount_order, count);
    slice->dirty = true;
}

uint64_t slice_next_free(const struct allocator *a,
                         const struct refcount_slice *slice, uint64_t cluster)
{
    const uint64_t first = slice_first(a, slice);
    const uint64_t end = slice_end(a, slice);

    while (cluster < end) {
        const struct range *range;

        cluster = first + refcount_find_zero(slice->bytes, cluster - first,
                                             end - first, a->refcount_order);
        range = cluster < end ? quarantine_find(a, cluster, 1) : NULL;
        if (range == NULL)
            return cluster;
        cluster = range->end;
    }
    return end;
}

uint64_t slice_free_run(const struct allocator *a,
                        const struct refcount_slice *slice, uint64_t cluster,
                        uint64_t clusters)
{
    const uint64_t first = slice_first(a, slice);
    const uint64_t end =
        cluster + min_u64(clusters, slice_end(a, slice) - cluster);
    const uint64_t used =
        first + refcount_find_nonzero(slice->bytes, cluster - first,
                                      end - first, a->refcount_order);
    const struct range *range = quarantine_find(a, cluster, used - cluster);

    if (range == NULL)
        return used - cluster;
    return range->start > cluster ? range->start - cluster : 0;
}
