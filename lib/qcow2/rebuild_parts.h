/* SPDX-License-Identifier: MIT */
/*
 * A rebuild of refcounts (rebuild.h) as its parts share it.
 *
 * The new structure lies in one run of free clusters, which count themselves:
 *
 *     [start]  blocks that hold a count, ascending | table  [start + clusters]
 *
 * The first walks find what is wrong, which blocks will hold a count, and where
 * there is room; nothing is written before they end.  The old table and blocks
 * are not counted, but kept from being written over until the header has left
 * them.  Walks are as many as the windows of reference_counts.h are.
 */
#ifndef BYRE_QCOW2_REBUILD_PARTS_H
#define BYRE_QCOW2_REBUILD_PARTS_H

#include "qcow2/reference_counts.h"

#define REBUILD_MOST_BLOCKS (QCOW2_MAX_REFCOUNT_TABLE_BYTES / 8)

struct rebuild {
    bool low; /* in the first room, not behind all that is in use */
    struct qcow2 *qcow2;
    const struct engine_progress *progress; /* NULL: none, or too late */
    uint64_t seen;                          /* references, of one walk */
    uint32_t order;                         /* of the new counts */
    uint64_t cluster_bytes;
    uint64_t per_block; /* counts in a block */
    uint64_t file_bytes;
    bool tolerant; /* of what a check has seen, and cannot mend */
    struct reference_counts counts;
    uint64_t end; /* one past the last cluster in use */

    uint8_t *needed; /* a bit a block: it holds a count */
    uint64_t needed_blocks;
    uint64_t needed_end; /* one past the last */

    /* The new structure; `clusters` is 0 until it is placed. */
    uint64_t start;
    uint64_t clusters;
    uint64_t blocks;
    uint64_t table_clusters;

    /* The block being filled, BYRE_NO_OFFSET if none, and how many are
       written. */
    uint8_t *block;
    uint64_t block_index;
    uint64_t blocks_written;
};

static inline bool rebuild_needs(const struct rebuild *rebuild, uint64_t index)
{
    return (rebuild->needed[index / 8] >> index % 8 & 1) != 0;
}

/* rebuild_counts.c */

/*
 * Counts the window that starts at `first`, the new structure too once it is
 * placed.
 */
int rebuild_count_window(struct rebuild *rebuild, uint64_t first,
                         struct byre_error *err);

/* Whether the refcounts are wide enough for a count. */
int rebuild_check_count(const struct rebuild *rebuild, uint64_t cluster,
                        uint64_t count, struct byre_error *err);

/* Notes that the block is needed; `index` is below REBUILD_MOST_BLOCKS. */
void rebuild_need_block(struct rebuild *rebuild, uint64_t index);

/* A table of `entries` would be too long. */
int rebuild_fail_table_size(const struct rebuild *rebuild, uint64_t entries,
                            struct byre_error *err);

/* Walks the whole image: what is in use, and which blocks that needs. */
int rebuild_survey(struct rebuild *rebuild, struct byre_error *err);

/*
 * rebuild_place.c: places the structure, and leaves the first window counted
 * with it.
 */
int rebuild_place(struct rebuild *rebuild, struct byre_error *err);

/* rebuild_tables.c: writes the structure, and waits until it is durable. */
int rebuild_write(struct rebuild *rebuild, struct byre_error *err);

#endif
