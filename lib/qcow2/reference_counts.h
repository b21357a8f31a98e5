/* SPDX-License-Identifier: MIT */
/*
 * Counts of references, for a window of host clusters [first, first + clusters)
 * in memory of bounded size.  A file larger than the window takes several
 * walks; `next` tells where the next one has something to count, so that holes
 * cost nothing.
 *
 *     for (first = 0; first != REFERENCE_COUNTS_END; first = counts.next) {
 *         do {
 *             reference_counts_start(&counts, first);
 *             ... a walk that calls reference_counts_add() ...
 *         } while (reference_counts_widen(&counts, err) > 0);
 *     }
 *
 * A cluster takes two bytes: a small count, and a mask of what the cluster is
 * used as.  Where a count does not fit, all of them are made wide, five bytes
 * each, and the window is walked again: that takes a thousand snapshots, or as
 * many compressed streams in one cluster.  A wide count stays at its maximum
 * once it is there.
 */
#ifndef BYRE_QCOW2_REFERENCE_COUNTS_H
#define BYRE_QCOW2_REFERENCE_COUNTS_H

#include "qcow2/references.h"

/* What a cluster is used as. */
#define REFERENCE_USE_DATA      (UINT8_C(1) << 0)
#define REFERENCE_USE_L2        (UINT8_C(1) << 1) /* of any tree */
#define REFERENCE_USE_ACTIVE_L2 (UINT8_C(1) << 2)
#define REFERENCE_USE_TABLE     (UINT8_C(1) << 3) /* all that only one owns */
/* Not counted, but not to be written over. */
#define REFERENCE_USE_RESERVED (UINT8_C(1) << 4)

#define REFERENCE_USE_REFCOUNTS (UINT8_C(1) << 5) /* their table, a block */

#define REFERENCE_USE_BITS   6
#define REFERENCE_NARROW_MAX (UINT16_MAX >> REFERENCE_USE_BITS)

#define REFERENCE_COUNTS_END UINT64_MAX
#define REFERENCE_COUNT_MAX  UINT32_MAX

struct reference_counts {
    uint32_t cluster_bits;
    uint64_t clusters; /* of the window, never 0 */
    uint64_t first;
    uint64_t budget_bytes;
    uint64_t most_clusters;
    bool wide;
    bool saturated;   /* a count does not fit: see reference_counts_widen() */
    uint16_t *narrow; /* uses below, count above; or, wide: */
    uint32_t *counts;
    uint8_t *uses;

    /* Since the start: the first cluster behind the window that is referred
       to, REFERENCE_COUNTS_END if none; and one past the last of all. */
    uint64_t next;
    uint64_t end;
};

/*
 * A window of as many clusters as `budget_bytes` hold, but at least 1024 and at
 * most `most_clusters`.
 */
int reference_counts_init(struct reference_counts *counts,
                          uint32_t cluster_bits, uint64_t budget_bytes,
                          uint64_t most_clusters, struct byre_error *err);
void reference_counts_done(struct reference_counts *counts);

/*
 * Positive if the window, which has been walked, must be walked again with
 * wide counts; it may be shorter then.
 */
int reference_counts_widen(struct reference_counts *counts,
                           struct byre_error *err);

/* The count, and REFERENCE_USE_*, of a cluster by its place in the window. */
static inline uint32_t
reference_counts_get(const struct reference_counts *counts, uint64_t place)
{
    return counts->wide ? counts->counts[place]
                        : (uint32_t)counts->narrow[place] >> REFERENCE_USE_BITS;
}

static inline uint8_t
reference_counts_use(const struct reference_counts *counts, uint64_t place)
{
    return counts->wide ? counts->uses[place]
                        : counts->narrow[place] &
                              (uint8_t)((1u << REFERENCE_USE_BITS) - 1);
}

/* Moves the window to `first` and empties it. */
void reference_counts_start(struct reference_counts *counts, uint64_t first);

/*
 * Counts one reference to each cluster that [offset, offset + bytes) touches,
 * used as `use`.  The range ends within STORE_MAX_OFFSET.
 */
void reference_counts_range(struct reference_counts *counts, uint64_t offset,
                            uint64_t bytes, uint8_t use);

/*
 * The same for a reference.  Returns false if it shares a cluster (of the
 * window) with another in a way that no image has: *ret_cluster.  What may be
 * shared is data with data, and an L2 table by several trees.
 */
bool reference_counts_add(struct reference_counts *counts,
                          const struct reference *ref, uint64_t *ret_cluster);

/*
 * Whether a check counts the reference, whatever else is wrong with it: it is
 * to clusters of the image file, or of what may be one.
 */
bool reference_is_counted(const struct reference *ref);

/* Keeps the clusters from being taken for free, without counting them. */
void reference_counts_reserve(struct reference_counts *counts, uint64_t offset,
                              uint64_t bytes);

#endif
