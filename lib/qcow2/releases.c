/* SPDX-License-Identifier: MIT */
/*
 * The way of a cluster from its release to its next use:
 *
 *     noted         the pointer is gone in memory
 *     in a batch    a flush writes what no longer points to it
 *     quarantine    the pointer is gone from the disk; the count is lowered
 *       written     the lowered count is written
 *       durable     a barrier has followed
 *       passed      every plan made before the flush has ended
 *     free          its space is given back where that is asked for
 *
 * The parts of a flush come one at a time, so that the list of quarantines is
 * read by them without the lock; changed, and read by others, it is under it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator_internal.h"

#define SECTOR_BYTES 512

/* ---- Noting ---- */

static int reserve(struct release_batch *batch, struct byre_error *err)
{
    const size_t capacity = batch->capacity * 2 + 16;
    struct release *releases;

    if (batch->count < batch->capacity)
        return BYRE_OK;
    releases = realloc(batch->releases, capacity * sizeof(*releases));
    if (releases == NULL)
        return fail_nomem(err, "a list of released clusters",
                          capacity * sizeof(*releases));
    batch->releases = releases;
    batch->capacity = capacity;
    return BYRE_OK;
}

int releases_note(struct allocator *a, struct release release,
                  struct byre_error *err)
{
    struct release_batch *noted = &a->noted;
    struct release *last =
        noted->count > 0 ? &noted->releases[noted->count - 1] : NULL;
    int r;

    if (last != NULL && last->flags == release.flags &&
        last->times == release.times &&
        last->cluster + last->clusters == release.cluster) {
        last->clusters += release.clusters;
        return BYRE_OK;
    }
    r = reserve(noted, err);
    if (r < 0)
        return r;
    noted->releases[noted->count++] = release;
    return BYRE_OK;
}

int allocator_release(struct allocator *a, uint64_t offset, uint64_t bytes,
                      unsigned flags, struct byre_error *err)
{
    return allocator_release_times(a, offset, bytes, 1, flags, err);
}

int allocator_release_times(struct allocator *a, uint64_t offset,
                            uint64_t bytes, uint32_t times, unsigned flags,
                            struct byre_error *err)
{
    const uint64_t first = offset >> a->cluster_bits;
    uint64_t end;
    int r;

    if (bytes == 0)
        return BYRE_OK;
    if (!range_within(offset, bytes, STORE_MAX_OFFSET))
        return fail_at(err, BYRE_E_CORRUPT, offset,
                       "%" PRIu64 " bytes at offset %" PRIu64
                       " end past the limit of %" PRIu64
                       "; run a check of the image",
                       bytes, offset, STORE_MAX_OFFSET);
    end = div_round_up(align_up(offset + bytes, SECTOR_BYTES),
                       allocator_cluster_bytes(a));

    pthread_mutex_lock(&a->lock);
    r = releases_note(a,
                      (struct release){ .cluster = first,
                                        .clusters = end - first,
                                        .times = times,
                                        .flags = flags },
                      err);
    pthread_mutex_unlock(&a->lock);
    return r;
}

/* ---- Batches ---- */

static void batch_free(struct release_batch *batch)
{
    while (batch != NULL) {
        struct release_batch *next = batch->next;

        free(batch->releases);
        free(batch);
        batch = next;
    }
}

static int compare_releases(const void *left, const void *right)
{
    const struct release *a = left, *b = right;

    return a->cluster < b->cluster ? -1 : a->cluster > b->cluster;
}

int allocator_flush_begin(struct allocator *a, struct release_batch **ret_batch,
                          struct byre_error *err)
{
    struct release_batch *batch;
    bool empty;

    pthread_mutex_lock(&a->lock);
    empty = a->noted.count == 0 && a->returned == NULL;
    pthread_mutex_unlock(&a->lock);
    if (empty) {
        *ret_batch = NULL;
        return BYRE_OK;
    }

    batch = calloc(1, sizeof(*batch));
    if (batch == NULL)
        return fail_nomem(err, "a list of released clusters", sizeof(*batch));
    pthread_mutex_lock(&a->lock);
    *batch = a->noted;
    batch->next = a->returned;
    a->noted = (struct release_batch){ 0 };
    a->returned = NULL;
    pthread_mutex_unlock(&a->lock);

    /* What becomes free in ascending order is quickly put into a set. */
    if (batch->count > 0)
        qsort(batch->releases, batch->count, sizeof(*batch->releases),
              compare_releases);
    batch->mark = gate_mark(a->gate);
    *ret_batch = batch;
    return BYRE_OK;
}

void allocator_flush_failed(struct allocator *a, struct release_batch *batch)
{
    struct release_batch *last = batch;

    if (batch == NULL)
        return;
    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&a->lock);
    last->next = a->returned;
    a->returned = batch;
    pthread_mutex_unlock(&a->lock);
}

/* ---- Quarantine ---- */

const struct range *quarantine_find(const struct allocator *a, uint64_t cluster,
                                    uint64_t clusters)
{
    const struct range *first = NULL;

    for (const struct quarantine *q = a->quarantines; q != NULL; q = q->next) {
        const struct range *range =
            range_set_find(&q->clusters, cluster, clusters);

        if (range != NULL && (first == NULL || range->start < first->start))
            first = range;
    }
    return first;
}

static void quarantine_free(struct quarantine *quarantine)
{
    range_set_done(&quarantine->clusters);
    free(quarantine);
}

static struct quarantine *quarantine_new(struct allocator *a, uint64_t mark)
{
    struct quarantine *quarantine = calloc(1, sizeof(*quarantine));

    if (quarantine == NULL)
        return NULL;
    quarantine->mark = mark;
    pthread_mutex_lock(&a->lock);
    quarantine->next = a->quarantines;
    a->quarantines = quarantine;
    pthread_mutex_unlock(&a->lock);
    return quarantine;
}

/* Takes it off the list, which makes what is in it free. */
static void quarantine_end(struct allocator *a, struct quarantine *quarantine)
{
    struct quarantine **link = &a->quarantines;

    pthread_mutex_lock(&a->lock);
    while (*link != quarantine)
        link = &(*link)->next;
    *link = quarantine->next;
    if (quarantine->clusters.count > 0 && !a->qcow2->engine.reuses_nothing)
        allocator_lower_hint(a, quarantine->clusters.ranges[0].start);
    pthread_mutex_unlock(&a->lock);
    quarantine_free(quarantine);
}

/* The space is not missed if that fails: the clusters are free all the same. */
static void punch(struct allocator *a, const struct quarantine *quarantine)
{
    for (size_t i = 0; i < quarantine->clusters.count; i++) {
        const struct range *range = &quarantine->clusters.ranges[i];

        if ((range->kind & ALLOCATOR_PUNCH) != 0)
            store_discard(a->store, range->start << a->cluster_bits,
                          (range->end - range->start) << a->cluster_bits, NULL);
    }
}

void allocator_flush_durable(struct allocator *a)
{
    struct quarantine *next;

    for (struct quarantine *q = a->quarantines; q != NULL; q = next) {
        next = q->next;
        q->durable = q->durable || q->written;
        if (!q->durable || !gate_passed(a->gate, q->mark))
            continue;
        punch(a, q);
        quarantine_end(a, q);
    }
}

/* ---- Lowering ---- */

static int fail_free(const struct allocator *a, uint64_t cluster,
                     struct byre_error *err)
{
    const uint64_t offset = cluster << a->cluster_bits;

    return fail_at(err, BYRE_E_CORRUPT, offset,
                   "the cluster at offset %" PRIu64
                   " was given up, but its refcount is 0 already or a "
                   "structure is there; run a check of the image",
                   offset);
}

/* Lowers what is left of a batch, and keeps account of how far it has come. */
static int lower_batch(struct allocator *a, struct release_batch *batch,
                       struct quarantine *quarantine, bool *ret_found_free,
                       uint64_t *ret_free_cluster, struct byre_error *err)
{
    while (batch->done < batch->count) {
        struct release *release = &batch->releases[batch->done];
        struct lowering lowering = {
            .cluster = release->cluster,
            .end = release->cluster + release->clusters,
            .times = release->times,
            .quarantine = quarantine,
            .flags = release->flags,
        };
        int r;

        r = allocator_lower(a, &lowering, err);
        if (lowering.found_free && !*ret_found_free) {
            *ret_found_free = true;
            *ret_free_cluster = lowering.free_cluster;
        }
        release->clusters = lowering.end - lowering.cluster;
        release->cluster = lowering.cluster;
        if (r < 0)
            return r;
        batch->done++;
    }
    return BYRE_OK;
}

int allocator_flush_unlinked(struct allocator *a, struct release_batch *batch,
                             struct byre_error *err)
{
    struct quarantine *quarantine;
    uint64_t free_cluster = 0;
    bool found_free = false;
    int r = BYRE_OK;

    if (batch == NULL)
        return BYRE_OK;
    quarantine = quarantine_new(a, batch->mark);
    if (quarantine == NULL)
        return fail_nomem(err, "a list of freed clusters", sizeof(*quarantine));

    for (struct release_batch *b = batch; b != NULL && r == BYRE_OK;
         b = b->next)
        r = lower_batch(a, b, quarantine, &found_free, &free_cluster, err);
    if (quarantine->clusters.count == 0)
        quarantine_end(a, quarantine);
    if (r == BYRE_OK && found_free)
        r = fail_free(a, free_cluster, err);
    if (r == BYRE_OK)
        batch_free(batch);
    return r;
}

/* ---- The flush ---- */

int allocator_flush_counts(struct allocator *a, struct byre_error *err)
{
    bool table;
    int r;

    pthread_mutex_lock(&a->lock);
    table = a->pending_count > 0 || a->table_moved;
    pthread_mutex_unlock(&a->lock);

    /* Blocks that come later belong to the next flush. */
    if (table)
        pthread_mutex_lock(&a->growth);
    r = refcount_slices_write(a, err);
    if (table) {
        if (r == BYRE_OK)
            r = refcount_table_write(a, err);
        pthread_mutex_unlock(&a->growth);
    }
    if (r < 0)
        return r;

    for (struct quarantine *q = a->quarantines; q != NULL; q = q->next)
        q->written = true;
    return BYRE_OK;
}

bool allocator_is_dirty(struct allocator *a)
{
    bool dirty;

    pthread_mutex_lock(&a->lock);
    dirty = a->pending_count > 0 || a->table_moved || a->noted.count > 0 ||
            a->returned != NULL || a->quarantines != NULL ||
            refcount_cache_is_dirty(a);
    pthread_mutex_unlock(&a->lock);
    return dirty;
}

void releases_done(struct allocator *a)
{
    free(a->noted.releases);
    batch_free(a->returned);
    while (a->quarantines != NULL) {
        struct quarantine *next = a->quarantines->next;

        quarantine_free(a->quarantines);
        a->quarantines = next;
    }
}
