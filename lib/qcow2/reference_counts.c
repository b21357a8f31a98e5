/* SPDX-License-Identifier: MIT */
#include "qcow2/reference_counts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

#define LEAST_CLUSTERS 1024
#define WIDE_BYTES     (sizeof(uint32_t) + sizeof(uint8_t))
#define NARROW_BYTES   sizeof(uint16_t)

static int allocate(struct reference_counts *counts, struct byre_error *err)
{
    const uint64_t each = counts->wide ? WIDE_BYTES : NARROW_BYTES;
    const uint64_t clusters =
        min_u64(max_u64(counts->budget_bytes / each, LEAST_CLUSTERS),
                max_u64(counts->most_clusters, 1));
    bool done = false;

    counts->clusters = clusters;
    if (clusters <= SIZE_MAX / WIDE_BYTES && counts->wide) {
        counts->counts = malloc((size_t)clusters * sizeof(counts->counts[0]));
        counts->uses = malloc((size_t)clusters * sizeof(counts->uses[0]));
        done = counts->counts != NULL && counts->uses != NULL;
    } else if (clusters <= SIZE_MAX / WIDE_BYTES) {
        counts->narrow = malloc((size_t)clusters * sizeof(counts->narrow[0]));
        done = counts->narrow != NULL;
    }
    if (done)
        return BYRE_OK;
    reference_counts_done(counts);
    return fail_nomem(err, "counts of references", (size_t)(clusters * each));
}

int reference_counts_init(struct reference_counts *counts,
                          uint32_t cluster_bits, uint64_t budget_bytes,
                          uint64_t most_clusters, struct byre_error *err)
{
    int r;

    *counts = (struct reference_counts){
        .cluster_bits = cluster_bits,
        .budget_bytes = budget_bytes,
        .most_clusters = most_clusters,
    };
    r = allocate(counts, err);
    if (r == BYRE_OK)
        reference_counts_start(counts, 0);
    return r;
}

void reference_counts_done(struct reference_counts *counts)
{
    free(counts->narrow);
    free(counts->counts);
    free(counts->uses);
    counts->narrow = NULL;
    counts->counts = NULL;
    counts->uses = NULL;
}

int reference_counts_widen(struct reference_counts *counts,
                           struct byre_error *err)
{
    int r;

    if (!counts->saturated)
        return 0;
    reference_counts_done(counts);
    counts->wide = true;
    counts->saturated = false;
    r = allocate(counts, err);
    return r < 0 ? r : 1;
}

void reference_counts_start(struct reference_counts *counts, uint64_t first)
{
    const size_t clusters = (size_t)counts->clusters;

    counts->first = first;
    counts->next = REFERENCE_COUNTS_END;
    counts->end = 0;
    if (counts->wide) {
        memset(counts->counts, 0, clusters * sizeof(counts->counts[0]));
        memset(counts->uses, 0, clusters * sizeof(counts->uses[0]));
    } else {
        memset(counts->narrow, 0, clusters * sizeof(counts->narrow[0]));
    }
}

/* One more reference to a cluster of the window, or just a use of it. */
static void add_one(struct reference_counts *counts, size_t i, bool counted,
                    uint8_t use)
{
    if (counts->wide) {
        counts->counts[i] += counted && counts->counts[i] < REFERENCE_COUNT_MAX;
        counts->uses[i] |= use;
        return;
    }
    counts->narrow[i] |= use;
    if (!counted)
        return;
    if (counts->narrow[i] >> REFERENCE_USE_BITS == REFERENCE_NARROW_MAX)
        counts->saturated = true;
    else
        counts->narrow[i] =
            (uint16_t)(counts->narrow[i] + (1u << REFERENCE_USE_BITS));
}

/* Some clusters of the window, by their place in it. */
struct span {
    size_t from;
    size_t to;
};

/* What of the range lies in the window; notes what lies behind it. */
static struct span place(struct reference_counts *counts, uint64_t offset,
                         uint64_t bytes)
{
    assert(range_within(offset, bytes, STORE_MAX_OFFSET));

    const uint64_t window_end = counts->first + counts->clusters;
    const uint64_t first = offset >> counts->cluster_bits;
    const uint64_t last =
        (offset + bytes - (bytes > 0)) >> counts->cluster_bits;
    const uint64_t from = max_u64(first, counts->first);
    const uint64_t to = min_u64(last + 1, window_end);

    if (bytes == 0)
        return (struct span){ 0 };
    counts->end = max_u64(counts->end, last + 1);
    if (last >= window_end)
        counts->next = min_u64(counts->next, max_u64(first, window_end));
    if (from >= to)
        return (struct span){ 0 };
    return (struct span){
        .from = (size_t)(from - counts->first),
        .to = (size_t)(to - counts->first),
    };
}

void reference_counts_range(struct reference_counts *counts, uint64_t offset,
                            uint64_t bytes, uint8_t use)
{
    const struct span span = place(counts, offset, bytes);

    for (size_t i = span.from; i < span.to; i++) {
        add_one(counts, i, true, use);
    }
}

void reference_counts_reserve(struct reference_counts *counts, uint64_t offset,
                              uint64_t bytes)
{
    const struct span span = place(counts, offset, bytes);

    for (size_t i = span.from; i < span.to; i++)
        add_one(counts, i, false, REFERENCE_USE_RESERVED);
}

bool reference_is_counted(const struct reference *ref)
{
    const uint32_t nowhere = REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;
    const uint32_t no_block = REFERENCE_UNALIGNED | REFERENCE_RESERVED_BITS;

    if (ref->bytes == 0 || ref->owner == REFERENCE_EXTERNAL_DATA ||
        ref->owner == REFERENCE_NOTHING || (ref->faults & nowhere) != 0)
        return false;
    return ref->owner != REFERENCE_REFCOUNT_BLOCK ||
           (ref->faults & no_block) == 0;
}

static uint8_t use_of(const struct reference *ref)
{
    switch (ref->owner) {
    case REFERENCE_DATA:
    case REFERENCE_COMPRESSED:
        return REFERENCE_USE_DATA;
    case REFERENCE_L2_TABLE:
        return ref->active ? REFERENCE_USE_L2 | REFERENCE_USE_ACTIVE_L2
                           : REFERENCE_USE_L2;
    case REFERENCE_REFCOUNT_TABLE:
    case REFERENCE_REFCOUNT_BLOCK:
        return REFERENCE_USE_TABLE | REFERENCE_USE_REFCOUNTS;
    case REFERENCE_HEADER:
    case REFERENCE_L1_TABLE:
    case REFERENCE_SNAPSHOT_TABLE:
    case REFERENCE_LUKS:
    case REFERENCE_BITMAP_DIRECTORY:
    case REFERENCE_BITMAP_TABLE:
    case REFERENCE_BITMAP_DATA:
        return REFERENCE_USE_TABLE;
    case REFERENCE_EXTERNAL_DATA:
    case REFERENCE_NOTHING:
        break;
    }
    return 0;
}

/* The uses that `use` cannot share a cluster with. */
static uint8_t excluded_by(uint8_t use)
{
    if ((use & REFERENCE_USE_DATA) != 0)
        return REFERENCE_USE_TABLE | REFERENCE_USE_L2;
    if ((use & REFERENCE_USE_ACTIVE_L2) != 0)
        return REFERENCE_USE_TABLE | REFERENCE_USE_DATA |
               REFERENCE_USE_ACTIVE_L2;
    if ((use & REFERENCE_USE_L2) != 0)
        return REFERENCE_USE_TABLE | REFERENCE_USE_DATA;
    return REFERENCE_USE_TABLE | REFERENCE_USE_DATA | REFERENCE_USE_L2;
}

bool reference_counts_add(struct reference_counts *counts,
                          const struct reference *ref, uint64_t *ret_cluster)
{
    const uint8_t use = use_of(ref);
    const uint8_t excluded = excluded_by(use);
    struct span span;
    bool fits = true;

    if (use == 0)
        return true;
    span = place(counts, ref->offset, ref->bytes);
    for (size_t i = span.from; i < span.to; i++) {
        if (fits && (reference_counts_use(counts, i) & excluded) != 0) {
            *ret_cluster = counts->first + i;
            fits = false;
        }
        add_one(counts, i, true, use);
    }
    return fits;
}
