/* SPDX-License-Identifier: MIT */
/*
 * Compressed streams, one behind the other.  Each counts once on every cluster
 * that [offset, offset + bytes) touches, rounded up to the end of the sector:
 * its entry reads that far, and clusters are whole sectors.
 *
 * The fill position is known in memory only: an image that is opened again
 * starts a new cluster.
 */
#include "base/arith.h"
#include "format/refcount.h"
#include "qcow2/allocator_internal.h"

struct stream {
    uint32_t bytes;
    uint64_t host_offset;
    bool fits; /* behind the last one */
};

/* Moves the fill position behind a stream; 0 where its cluster is full. */
static void set_fill(struct allocator *a, uint64_t end)
{
    a->fill_offset = is_aligned(end, allocator_cluster_bytes(a)) ? 0 : end;
}

/* The cluster behind may hold the rest of a stream if nothing is there. */
static int take_next_for_stream(struct allocator *a, uint64_t cluster,
                                bool *ret_taken, struct need *ret_need,
                                struct byre_error *err)
{
    struct refcount_slice *slice;
    int r;

    *ret_taken = false;
    if (cluster >= a->end_cluster)
        return BYRE_OK;
    switch (refcount_slice_find(a, cluster, &slice)) {
    case SLICE_MISSING:
        return allocator_need_slice(ret_need, cluster);
    case SLICE_NO_BLOCK:
        return BYRE_OK;
    case SLICE_HERE:
        break;
    }
    if (slice_free_run(a, slice, cluster, 1) == 0)
        return BYRE_OK;

    r = allocator_check_free(a, cluster, 1, err);
    if (r < 0)
        return r;
    allocator_count_once(a, slice, cluster, 1);
    allocator_note_used(a, cluster, 1);
    *ret_taken = true;
    return BYRE_OK;
}

static int append_step(struct allocator *a, void *state, struct need *ret_need,
                       struct byre_error *err)
{
    struct stream *stream = state;
    const uint64_t cluster = a->fill_offset >> a->cluster_bits;
    const uint64_t end = a->fill_offset + stream->bytes;
    struct refcount_slice *slice;
    bool taken;
    uint64_t count;
    int r;

    if (a->fill_offset == 0)
        return BYRE_OK;
    if (refcount_slice_find(a, cluster, &slice) != SLICE_HERE)
        return allocator_need_slice(ret_need, cluster);
    count = slice_get(a, slice, cluster);
    if (count == refcount_max(a->refcount_order))
        return BYRE_OK;
    if (end > (cluster + 1) << a->cluster_bits) {
        r = take_next_for_stream(a, cluster + 1, &taken, ret_need, err);
        if (r != BYRE_OK || !taken)
            return r;
    }
    slice_put(a, slice, cluster, count + 1);
    stream->host_offset = a->fill_offset;
    stream->fits = true;
    set_fill(a, end);
    return BYRE_OK;
}

/* The next stream goes on in the cluster that has more room. */
static void offer_fill(struct allocator *a, uint64_t end)
{
    const uint64_t mask = allocator_cluster_bytes(a) - 1;

    pthread_mutex_lock(&a->lock);
    if ((end & mask) != 0 &&
        (a->fill_offset == 0 || (end & mask) < (a->fill_offset & mask)))
        a->fill_offset = end;
    pthread_mutex_unlock(&a->lock);
}

int allocator_take_stream(struct allocator *a, uint32_t bytes,
                          uint64_t *ret_host_offset, struct byre_error *err)
{
    struct stream stream = { .bytes = bytes };
    struct host_run run;
    int r;

    r = allocator_run(a, append_step, &stream, err);
    if (r < 0)
        return r;

    if (!stream.fits) {
        r = allocator_take(a, 1, &run, err);
        if (r < 0)
            return r;
        stream.host_offset = run.offset;
        offer_fill(a, run.offset + bytes);
    }
    *ret_host_offset = stream.host_offset;
    return BYRE_OK;
}
