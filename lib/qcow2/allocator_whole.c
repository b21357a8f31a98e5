/* SPDX-License-Identifier: MIT */
/*
 * First a run that is free is looked for, then its counts are raised slice by
 * slice.  The lock is dropped on the way, so another may have taken a part of
 * it meanwhile: then what was counted is given back and the search goes on.
 */
#include "base/arith.h"
#include "qcow2/allocator_internal.h"

struct taking_all {
    uint64_t clusters;
    uint64_t start;
    uint64_t free;    /* clusters from `start` on that were seen to be free */
    uint64_t counted; /* of them, already raised */
    bool taken;       /* by another */
    uint64_t first_free;
    uint64_t hint_lowered;
    struct host_run run;
};

static void see_free(struct taking_all *all, uint64_t clusters)
{
    all->free += clusters;
    if (all->free > 0 && all->first_free == BYRE_NO_OFFSET)
        all->first_free = all->start;
}

static uint64_t block_end(const struct allocator *a, uint64_t cluster)
{
    return ((cluster >> a->block_bits) + 1) << a->block_bits;
}

/* Goes on at the first free cluster of the slice behind what was not. */
static void restart_behind(struct allocator *a, struct taking_all *all,
                           const struct refcount_slice *slice, uint64_t cluster)
{
    all->start = slice_next_free(a, slice, cluster);
    all->free = 0;
}

static int find_all_step(struct allocator *a, void *state,
                         struct need *ret_need, struct byre_error *err)
{
    struct taking_all *all = state;

    while (all->free < all->clusters) {
        const uint64_t cluster = all->start + all->free;
        struct refcount_slice *slice;
        uint64_t n;

        if (!range_within(all->start, all->clusters, a->end_cluster))
            return allocator_fail_full(a, err);
        switch (refcount_slice_find(a, cluster, &slice)) {
        case SLICE_MISSING:
            return allocator_need_slice(ret_need, cluster);
        case SLICE_NO_BLOCK:
            see_free(all, block_end(a, cluster) - cluster);
            continue;
        case SLICE_HERE:
            break;
        }
        n = slice_free_run(a, slice, cluster, UINT64_MAX);
        see_free(all, n);
        if (cluster + n < slice_end(a, slice) && all->free < all->clusters)
            restart_behind(a, all, slice, cluster + n);
    }
    return BYRE_OK;
}

static void finish_all(struct allocator *a, struct taking_all *all)
{
    all->run = allocator_make_run(a, all->start, all->clusters);
    if (a->hint_lowered != all->hint_lowered)
        return;
    if (all->first_free == BYRE_NO_OFFSET || all->first_free == all->start)
        a->hint = max_u64(a->hint, all->start + all->clusters);
    else
        a->hint = max_u64(a->hint, all->first_free);
}

static int count_all_step(struct allocator *a, void *state,
                          struct need *ret_need, struct byre_error *err)
{
    struct taking_all *all = state;
    int r;

    while (all->counted < all->clusters) {
        const uint64_t cluster = all->start + all->counted;
        struct refcount_slice *slice;
        uint64_t n, here;

        switch (refcount_slice_find(a, cluster, &slice)) {
        case SLICE_MISSING:
            return allocator_need_slice(ret_need, cluster);
        case SLICE_NO_BLOCK:
            return allocator_need_block(ret_need, cluster);
        case SLICE_HERE:
            break;
        }
        here = min_u64(all->clusters - all->counted,
                       slice_end(a, slice) - cluster);
        n = slice_free_run(a, slice, cluster, here);
        r = allocator_check_free(a, cluster, n, err);
        if (r < 0)
            return r;
        allocator_count_once(a, slice, cluster, n);
        all->counted += n;
        if (n < here) {
            all->taken = true;
            return BYRE_OK;
        }
    }
    finish_all(a, all);
    return BYRE_OK;
}

static int uncount(struct allocator *a, uint64_t cluster, uint64_t clusters,
                   struct byre_error *err)
{
    struct lowering lowering = { .cluster = cluster,
                                 .end = cluster + clusters,
                                 .times = 1 };

    return allocator_lower(a, &lowering, err);
}

int allocator_take_all(struct allocator *a, uint64_t clusters,
                       struct host_run *ret_run, struct byre_error *err)
{
    struct taking_all all = { .clusters = clusters,
                              .first_free = BYRE_NO_OFFSET };
    int r;

    allocator_start(a, &all.start, &all.hint_lowered);
    for (;;) {
        r = allocator_run(a, find_all_step, &all, err);
        if (r < 0)
            return r;

        r = allocator_run(a, count_all_step, &all, err);
        if (r == BYRE_OK && !all.taken)
            break;
        if (r < 0) {
            uncount(a, all.start, all.counted, NULL); /* or lost: a leak */
            return r;
        }
        r = uncount(a, all.start, all.counted, err);
        if (r < 0)
            return r;
        all = (struct taking_all){ .clusters = clusters,
                                   .first_free = BYRE_NO_OFFSET,
                                   .start = all.start + all.counted };
        pthread_mutex_lock(&a->lock);
        all.start = min_u64(all.start, a->hint);
        all.hint_lowered = a->hint_lowered;
        pthread_mutex_unlock(&a->lock);
    }
    *ret_run = all.run;
    return BYRE_OK;
}
