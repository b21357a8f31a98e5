/* SPDX-License-Identifier: MIT */
/*
 * Taking clusters.  Whatever is taken is counted at once, in the cache, so that
 * nobody else takes it.
 *
 * `hint` lies before every cluster that may be taken, but for those that a hole
 * in the numbers makes too small for a run that is wanted whole.  It moves
 * behind what was taken only if nothing became free while the search went on
 * without the lock.
 */
#include "qcow2/allocator.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/allocator_internal.h"

#define SECTOR_BYTES 512

/* ---- Steps ---- */

int allocator_run(struct allocator *a, allocator_step *step, void *state,
                  struct byre_error *err)
{
    for (;;) {
        struct need need = { 0 };
        int r;

        pthread_mutex_lock(&a->lock);
        r = step(a, state, &need, err);
        pthread_mutex_unlock(&a->lock);
        if (r <= 0)
            return r;

        if (need.block)
            r = refcount_growth_add_block(a, need.cluster, err);
        else
            r = refcount_slice_load(a, need.cluster, err);
        if (r < 0)
            return r;
    }
}

int allocator_need_slice(struct need *ret_need, uint64_t cluster)
{
    *ret_need = (struct need){ .cluster = cluster };
    return 1;
}

int allocator_need_block(struct need *ret_need, uint64_t cluster)
{
    *ret_need = (struct need){ .cluster = cluster, .block = true };
    return 1;
}

/* ---- What is taken ---- */

int allocator_fail_full(const struct allocator *a, struct byre_error *err)
{
    const uint64_t end = a->end_cluster << a->cluster_bits;

    if (a->store->identity.is_device)
        return fail_errno(
            err, ENOSPC,
            "no cluster is free on the device of %" PRIu64 " bytes", end);
    return fail(err, BYRE_E_LIMIT,
                "no cluster is free below offset %" PRIu64
                ", the limit of the format",
                end);
}

void allocator_note_used(struct allocator *a, uint64_t cluster,
                         uint64_t clusters)
{
    a->file_end = max_u64(a->file_end, (cluster + clusters) << a->cluster_bits);
}

int allocator_check_free(struct allocator *a, uint64_t cluster,
                         uint64_t clusters, struct byre_error *err)
{
    int r;

    r = metadata_check(a->metadata, cluster << a->cluster_bits,
                       clusters << a->cluster_bits, err);
    if (r < 0)
        error_prefix(err, "refcounts count a cluster as free");
    if (r < 0 || cluster != 0)
        return r;
    return fail_at(err, BYRE_E_CORRUPT, 0,
                   "refcounts count the header's cluster as free; run a check "
                   "of the image");
}

struct host_run allocator_make_run(struct allocator *a, uint64_t cluster,
                                   uint64_t clusters)
{
    const uint64_t offset = cluster << a->cluster_bits;
    const struct host_run run = {
        .offset = offset,
        .clusters = clusters,
        .reads_zero = offset >= a->file_end && !a->store->identity.is_device,
    };

    allocator_note_used(a, cluster, clusters);
    return run;
}

void allocator_count_once(struct allocator *a, struct refcount_slice *slice,
                          uint64_t cluster, uint64_t clusters)
{
    for (uint64_t i = 0; i < clusters; i++)
        slice_put(a, slice, cluster + i, 1);
}

/* ---- Taking what comes first ---- */

struct taking {
    uint64_t clusters;
    uint64_t cursor; /* nothing before it may be taken */
    uint64_t hint_lowered;
    struct host_run run;
};

/* How far the run at `cluster` goes, as far as slices are here. */
static uint64_t run_length(struct allocator *a, uint64_t cluster,
                           uint64_t clusters)
{
    struct refcount_slice *slice;
    uint64_t length = 0;

    clusters = min_u64(clusters, a->end_cluster - cluster);
    while (length < clusters &&
           refcount_slice_find(a, cluster + length, &slice) == SLICE_HERE) {
        const uint64_t more =
            slice_free_run(a, slice, cluster + length, clusters - length);

        length += more;
        if (cluster + length != slice_end(a, slice))
            break;
    }
    return length;
}

static void count_run(struct allocator *a, uint64_t cluster, uint64_t clusters)
{
    const uint64_t end = cluster + clusters;
    struct refcount_slice *slice;

    while (cluster < end &&
           refcount_slice_find(a, cluster, &slice) == SLICE_HERE) {
        const uint64_t n = min_u64(end, slice_end(a, slice)) - cluster;

        allocator_count_once(a, slice, cluster, n);
        cluster += n;
    }
}

static int take_at_cursor(struct allocator *a, struct taking *taking,
                          struct byre_error *err)
{
    const uint64_t cluster = taking->cursor;
    const uint64_t clusters = run_length(a, cluster, taking->clusters);
    int r;

    r = allocator_check_free(a, cluster, clusters, err);
    if (r < 0)
        return r;
    count_run(a, cluster, clusters);
    taking->run = allocator_make_run(a, cluster, clusters);
    if (a->hint_lowered == taking->hint_lowered)
        a->hint = max_u64(a->hint, cluster + clusters);
    return BYRE_OK;
}

static int take_step(struct allocator *a, void *state, struct need *ret_need,
                     struct byre_error *err)
{
    struct taking *taking = state;

    while (taking->cursor < a->end_cluster) {
        struct refcount_slice *slice;

        switch (refcount_slice_find(a, taking->cursor, &slice)) {
        case SLICE_MISSING:
            return allocator_need_slice(ret_need, taking->cursor);
        case SLICE_NO_BLOCK:
            return allocator_need_block(ret_need, taking->cursor);
        case SLICE_HERE:
            break;
        }
        taking->cursor = slice_next_free(a, slice, taking->cursor);
        if (taking->cursor < min_u64(slice_end(a, slice), a->end_cluster))
            return take_at_cursor(a, taking, err);
    }
    return allocator_fail_full(a, err);
}

void allocator_start(struct allocator *a, uint64_t *ret_cursor,
                     uint64_t *ret_hint_lowered)
{
    pthread_mutex_lock(&a->lock);
    *ret_cursor = a->hint;
    *ret_hint_lowered = a->hint_lowered;
    pthread_mutex_unlock(&a->lock);
}

int allocator_take(struct allocator *a, uint64_t clusters,
                   struct host_run *ret_run, struct byre_error *err)
{
    struct taking taking = { .clusters = clusters };
    int r;

    allocator_start(a, &taking.cursor, &taking.hint_lowered);
    r = allocator_run(a, take_step, &taking, err);
    if (r < 0)
        return r;
    *ret_run = taking.run;
    return BYRE_OK;
}

/* ---- Giving back ---- */

void allocator_lower_hint(struct allocator *a, uint64_t cluster)
{
    a->hint = min_u64(a->hint, cluster);
    a->hint_lowered++;
}

/* The cluster has no count that could be lowered. */
static void note_free(struct lowering *lowering)
{
    if (!lowering->found_free)
        lowering->free_cluster = lowering->cluster;
    lowering->found_free = true;
}

/* A structure stays, whoever claims to have pointed there. */
static bool is_structure(struct allocator *a, uint64_t cluster)
{
    return metadata_check(a->metadata, cluster << a->cluster_bits, 1, NULL) < 0;
}

/* So many pointers fewer to a cluster of the slice. */
static int lower_one(struct allocator *a, struct refcount_slice *slice,
                     struct lowering *lowering, struct byre_error *err)
{
    const uint64_t cluster = lowering->cluster;
    const uint64_t count = slice_get(a, slice, cluster);
    const bool last = count == lowering->times;
    int r;

    if (count < lowering->times ||
        (last && lowering->quarantine != NULL && is_structure(a, cluster))) {
        note_free(lowering);
        return BYRE_OK;
    }
    if (last && lowering->quarantine != NULL) {
        r = range_set_add(&lowering->quarantine->clusters, cluster, 1,
                          lowering->flags, err);
        if (r < 0)
            return r;
    }
    slice_put(a, slice, cluster, count - lowering->times);
    if (last && lowering->quarantine == NULL)
        allocator_lower_hint(a, cluster);
    if (last && a->fill_offset >> a->cluster_bits == cluster)
        a->fill_offset = 0;
    return BYRE_OK;
}

static int lower_step(struct allocator *a, void *state, struct need *ret_need,
                      struct byre_error *err)
{
    struct lowering *lowering = state;

    while (lowering->cluster < lowering->end) {
        struct refcount_slice *slice;
        int r;

        switch (refcount_slice_find(a, lowering->cluster, &slice)) {
        case SLICE_MISSING:
            return allocator_need_slice(ret_need, lowering->cluster);
        case SLICE_NO_BLOCK:
            note_free(lowering);
            break;
        case SLICE_HERE:
            r = lower_one(a, slice, lowering, err);
            if (r < 0)
                return r;
            break;
        }
        lowering->cluster++;
    }
    return BYRE_OK;
}

int allocator_lower(struct allocator *a, struct lowering *lowering,
                    struct byre_error *err)
{
    return allocator_run(a, lower_step, lowering, err);
}

int allocator_give_back(struct allocator *a, uint64_t offset, uint64_t bytes,
                        struct byre_error *err)
{
    const uint64_t end = align_up(offset + bytes, SECTOR_BYTES);
    struct lowering lowering = {
        .cluster = offset >> a->cluster_bits,
        .end = div_round_up(end, allocator_cluster_bytes(a)),
        .times = 1,
    };
    int r;

    r = allocator_lower(a, &lowering, err);
    if (r < 0)
        return r;
    if (lowering.found_free)
        return fail_at(err, BYRE_E_CORRUPT,
                       lowering.free_cluster << a->cluster_bits,
                       "refcount of the cluster at offset %" PRIu64
                       " is 0 already; run a check of the image",
                       lowering.free_cluster << a->cluster_bits);
    return BYRE_OK;
}

/* ---- Looking ---- */

struct getting {
    uint64_t cluster;
    uint64_t count;
};

static int get_step(struct allocator *a, void *state, struct need *ret_need,
                    struct byre_error *err)
{
    struct getting *getting = state;
    struct refcount_slice *slice;

    (void)err;
    switch (refcount_slice_find(a, getting->cluster, &slice)) {
    case SLICE_MISSING:
        return allocator_need_slice(ret_need, getting->cluster);
    case SLICE_NO_BLOCK:
        getting->count = 0;
        return BYRE_OK;
    case SLICE_HERE:
        getting->count = slice_get(a, slice, getting->cluster);
        return BYRE_OK;
    }
    return BYRE_OK;
}

int allocator_get(struct allocator *a, uint64_t host_offset,
                  uint64_t *ret_count, struct byre_error *err)
{
    struct getting getting = { .cluster = host_offset >> a->cluster_bits };
    int r;

    r = allocator_run(a, get_step, &getting, err);
    if (r < 0)
        return r;
    *ret_count = getting.count;
    return BYRE_OK;
}
