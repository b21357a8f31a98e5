/* SPDX-License-Identifier: MIT */
/*
 * One more pointer to clusters that are in use: what a snapshot does.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/allocator_internal.h"

#define SECTOR_BYTES 512

struct raising {
    uint64_t cluster;
    uint64_t end;
    bool only_look;
};

static int fail_uncounted(const struct allocator *a, uint64_t cluster,
                          struct byre_error *err)
{
    const uint64_t offset = cluster << a->cluster_bits;

    return fail_at(err, BYRE_E_CORRUPT, offset,
                   "refcount of the cluster at offset %" PRIu64
                   " is 0, but a table refers to it; run a check of the image",
                   offset);
}

static int fail_counted_out(const struct allocator *a, uint64_t cluster,
                            struct byre_error *err)
{
    const uint64_t offset = cluster << a->cluster_bits;

    return fail_at(err, BYRE_E_LIMIT, offset,
                   "the cluster at offset %" PRIu64
                   " cannot be shared once more: with refcounts of %u bits the "
                   "limit is %" PRIu64
                   "; amend the image to wider refcounts, or delete snapshots",
                   offset, 1u << a->refcount_order,
                   refcount_max(a->refcount_order));
}

/* What is to be raised of one slice. */
static int raise_in_slice(struct allocator *a, struct raising *raising,
                          struct refcount_slice *slice, struct byre_error *err)
{
    const uint64_t end = min_u64(raising->end, slice_end(a, slice));

    for (; raising->cluster < end; raising->cluster++) {
        const uint64_t count = slice_get(a, slice, raising->cluster);

        if (count == 0)
            return fail_uncounted(a, raising->cluster, err);
        if (count == refcount_max(a->refcount_order))
            return fail_counted_out(a, raising->cluster, err);
        if (!raising->only_look)
            slice_put(a, slice, raising->cluster, count + 1);
    }
    return BYRE_OK;
}

static int raise_step(struct allocator *a, void *state, struct need *ret_need,
                      struct byre_error *err)
{
    struct raising *raising = state;
    int r = BYRE_OK;

    while (raising->cluster < raising->end && r == BYRE_OK) {
        struct refcount_slice *slice;

        switch (refcount_slice_find(a, raising->cluster, &slice)) {
        case SLICE_MISSING:
            return allocator_need_slice(ret_need, raising->cluster);
        case SLICE_NO_BLOCK:
            return fail_uncounted(a, raising->cluster, err);
        case SLICE_HERE:
            r = raise_in_slice(a, raising, slice, err);
            break;
        }
    }
    return r;
}

static int raise_counts(struct allocator *a, uint64_t offset, uint64_t bytes,
                        bool only_look, struct byre_error *err)
{
    const uint64_t first = offset >> a->cluster_bits;
    struct raising raising = {
        .cluster = first,
        .end = div_round_up(align_up(offset + bytes, SECTOR_BYTES),
                            allocator_cluster_bytes(a)),
        .only_look = only_look,
    };
    int r;

    r = allocator_run(a, raise_step, &raising, err);
    if (r < 0 && !only_look && raising.cluster > first) {
        struct lowering lowering = { .cluster = first,
                                     .end = raising.cluster,
                                     .times = 1 };

        allocator_lower(a, &lowering, NULL); /* or lost: a leak */
    }
    return r;
}

int allocator_raise(struct allocator *a, uint64_t offset, uint64_t bytes,
                    struct byre_error *err)
{
    return raise_counts(a, offset, bytes, false, err);
}

int allocator_can_raise(struct allocator *a, uint64_t offset, uint64_t bytes,
                        struct byre_error *err)
{
    return raise_counts(a, offset, bytes, true, err);
}
