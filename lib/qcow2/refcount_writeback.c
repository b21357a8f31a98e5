/* SPDX-License-Identifier: MIT */
/*
 * Writing slices.  What is written is a copy made under the lock; a slice that
 * changes meanwhile is dirty again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator_internal.h"

/* Neighbours are written together up to this many. */
#define MAX_GROUP 32

bool refcount_cache_is_dirty(const struct allocator *a)
{
    for (size_t i = 0; i < a->cache.count; i++) {
        if (a->cache.slices[i]->dirty || a->cache.slices[i]->writing)
            return true;
    }
    return false;
}

static void write_begin(const struct allocator *a, struct refcount_slice *slice,
                        uint8_t *ret_bytes)
{
    memcpy(ret_bytes, slice->bytes, a->slice_bytes);
    slice->dirty = false;
    slice->writing = true;
}

static void write_end(struct refcount_slice *slice, int result)
{
    slice->writing = false;
    if (result < 0)
        slice->dirty = true;
}

int refcount_slice_write(struct allocator *a, struct refcount_slice *slice,
                         struct byre_error *err)
{
    const uint64_t host_offset = refcount_slice_offset(a, slice->number);
    uint8_t bytes[REFCOUNT_SLICE_MAX_BYTES];
    int r;

    write_begin(a, slice, bytes);
    pthread_mutex_unlock(&a->lock);
    r = store_write(a->store, host_offset, bytes, a->slice_bytes, err);
    if (r < 0)
        error_prefix(err, "refcount block");
    pthread_mutex_lock(&a->lock);
    write_end(slice, r);
    pthread_cond_broadcast(&a->changed);
    return r;
}

struct dirty_slice {
    uint64_t host_offset;
    uint64_t number;
};

static int compare_dirty(const void *left, const void *right)
{
    const struct dirty_slice *a = left, *b = right;

    return a->host_offset < b->host_offset ? -1
                                           : a->host_offset > b->host_offset;
}

/* A list of what is dirty or being written, in the order of the file. */
static int list_dirty(struct allocator *a, struct dirty_slice **ret_list,
                      size_t *ret_count, struct byre_error *err)
{
    const struct refcount_cache *cache = &a->cache;
    struct dirty_slice *list = NULL;
    size_t count = 0;

    for (size_t i = 0; i < cache->count; i++)
        count += cache->slices[i]->dirty || cache->slices[i]->writing;
    if (count > 0) {
        list = malloc(count * sizeof(*list));
        if (list == NULL)
            return fail_nomem(err, "a list of refcounts to write",
                              count * sizeof(*list));
    }

    *ret_count = count;
    *ret_list = list;
    for (size_t i = 0; i < cache->count; i++) {
        const struct refcount_slice *slice = cache->slices[i];

        if (slice->dirty || slice->writing)
            *list++ =
                (struct dirty_slice){ refcount_slice_offset(a, slice->number),
                                      slice->number };
    }
    if (count > 0)
        qsort(*ret_list, count, sizeof(**ret_list), compare_dirty);
    return BYRE_OK;
}

/*
 * The slice if it still has to be written; waits for another writer of it,
 * whose bytes may be older, or whose write may fail.  Under `lock`.
 */
static struct refcount_slice *claim_for_write(struct allocator *a,
                                              uint64_t number)
{
    for (;;) {
        struct refcount_slice *slice = refcount_cache_get(&a->cache, number);

        if (slice == NULL || slice->loading)
            return NULL;
        if (!slice->writing)
            return slice->dirty ? slice : NULL;
        pthread_cond_wait(&a->changed, &a->lock);
    }
}

/*
 * Writes the first slice of the list and what follows it in the file without a
 * gap.  Under `lock`, which is dropped meanwhile.
 */
static int write_group(struct allocator *a, const struct dirty_slice *list,
                       size_t count, uint8_t *buf, size_t *ret_done,
                       struct byre_error *err)
{
    struct refcount_slice *group[MAX_GROUP];
    size_t n = 0;
    int r;

    while (n < MAX_GROUP && n < count &&
           list[n].host_offset == list[0].host_offset + n * a->slice_bytes) {
        group[n] = claim_for_write(a, list[n].number);
        if (group[n] == NULL)
            break;
        write_begin(a, group[n], buf + n * a->slice_bytes);
        n++;
    }
    *ret_done = n > 0 ? n : 1;
    if (n == 0)
        return BYRE_OK;

    pthread_mutex_unlock(&a->lock);
    r = store_write(a->store, list[0].host_offset, buf, n * a->slice_bytes,
                    err);
    if (r < 0)
        error_prefix(err, "refcount block");
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < n; i++)
        write_end(group[i], r);
    pthread_cond_broadcast(&a->changed);
    return r;
}

static int write_list(struct allocator *a, const struct dirty_slice *list,
                      size_t count, struct byre_error *err)
{
    const size_t buf_bytes = (size_t)min_u64(count, MAX_GROUP) * a->slice_bytes;
    uint8_t *buf;
    size_t done;
    int r = BYRE_OK;

    if (count == 0)
        return BYRE_OK;
    buf = malloc(buf_bytes);
    if (buf == NULL)
        return fail_nomem(err, "refcounts to write", buf_bytes);
    for (size_t i = 0; i < count && r == BYRE_OK; i += done)
        r = write_group(a, list + i, count - i, buf, &done, err);
    free(buf);
    return r;
}

int refcount_slices_write(struct allocator *a, struct byre_error *err)
{
    struct dirty_slice *list = NULL;
    size_t count = 0;
    int r;

    pthread_mutex_lock(&a->lock);
    r = list_dirty(a, &list, &count, err);
    if (r == BYRE_OK)
        r = write_list(a, list, count, err);
    pthread_mutex_unlock(&a->lock);
    free(list);
    return r;
}
