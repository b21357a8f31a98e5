/* SPDX-License-Identifier: MIT */
/*
 * Compacting (compact.c) as its parts share it:
 *
 *     compact_settle.c  counts references, and lowers counts that are too high
 *     compact_zeroes.c  entries that need no cluster, tables that say nothing
 *     compact_plan.c    which clusters go where
 *     compact_move.c    copies them, and changes what points to them
 *     compact_tables.c  tables of several clusters
 *
 * All of it works on the file itself, where everything is before it begins; the
 * caches are emptied when it ends.  Only the L1 table and the header are kept
 * as they are in the file.
 */
#ifndef BYRE_QCOW2_COMPACT_PARTS_H
#define BYRE_QCOW2_COMPACT_PARTS_H

#include "qcow2/reference_counts.h"
#include "qcow2/sector_edits.h"

/* A cluster or stream that gets another place. */
struct move {
    uint64_t from;
    uint64_t to; /* 0: it stays */
    uint32_t bytes;
    uint32_t refs; /* pointers to it */
    enum reference_owner owner;
};

/* In the order in which they are found; `index` finds them by `from`. */
struct moves {
    struct move *list;
    size_t count;
    size_t capacity;
    uint32_t *index; /* of list, plus 1; 0: none */
    uint32_t index_bits;
};

struct compact {
    struct qcow2 *qcow2;
    const struct engine_progress *progress;
    struct byre_compact_result result;
    uint32_t cluster_bits;
    uint64_t cluster_bytes;
    uint64_t per_block; /* counts in a refcount block */

    uint64_t *table; /* the refcount table, as far as the file has it */
    uint64_t table_entries;
    struct reference_counts counts; /* a window */
    uint8_t *cluster;               /* one, of data or of a table */
    uint8_t *block;                 /* one of refcounts */

    /* A bit a cluster of the file, as the last settling has found it. */
    uint64_t clusters;
    uint8_t *used;
    uint8_t *fixed;    /* in use, and not moved one by one */
    uint64_t used_end; /* one past the last in use */
    uint64_t boundary; /* with all that can move before it, nothing is behind */

    struct moves moves;
    struct sector_edits edits;
    uint64_t done_bytes; /* of progress */
    uint64_t total_bytes;
    bool frees; /* what settling frees counts as freed, not as moved */
};

static inline bool compact_bit(const uint8_t *bits, uint64_t cluster)
{
    return (bits[cluster / 8] >> cluster % 8 & 1) != 0;
}

static inline bool compact_is_hole(const struct compact *c, uint64_t cluster)
{
    return !compact_bit(c->used, cluster) &&
           cluster / c->per_block < c->table_entries &&
           c->table[cluster / c->per_block] != 0;
}

/* ---- compact.c ---- */

/* A write that fails may have arrived: then nothing is written any more. */
int compact_write(struct compact *c, uint64_t offset, const void *bytes,
                  size_t length, struct byre_error *err);
int compact_edit(struct compact *c, uint64_t offset, const uint64_t *words,
                 uint32_t count, struct byre_error *err);
/* Writes the last edit, and waits until all is durable. */
int compact_barrier(struct compact *c, struct byre_error *err);
/* Ends with what a header's write has returned, and makes it durable. */
int compact_switched(struct compact *c, int r, struct byre_error *err);
/* Some work is done; fails if it is to end. */
int compact_advance(struct compact *c, uint64_t bytes, struct byre_error *err);

/* ---- compact_settle.c ---- */

/*
 * Counts all references, lowers counts that are too high, durably, and finds
 * out what is in use.  BYRE_E_CORRUPT, with the counts of the window at worst
 * lowered to what is right, for what only check can mend.
 */
int compact_settle(struct compact *c, struct byre_error *err);

/* Counts `refs` more references to the clusters of a range that is free. */
int compact_raise(struct compact *c, uint64_t offset, uint64_t bytes,
                  uint64_t refs, struct byre_error *err);

/* ---- compact_zeroes.c ---- */

/* Gives up clusters that hold only zeroes; then L2 tables without an entry.
   Durable; counts are lowered by the next settling. */
int compact_zeroes(struct compact *c, struct byre_error *err);
int compact_empty_tables(struct compact *c, struct byre_error *err);
/* Gives up refcount blocks that count nothing but themselves. */
int compact_empty_blocks(struct compact *c, bool *ret_any,
                         struct byre_error *err);

/* ---- compact_plan.c ---- */

/* What one batch moves. */
enum compact_part { COMPACT_BLOCKS, COMPACT_L2_TABLES, COMPACT_DATA };

int compact_moves_init(struct moves *moves, size_t capacity,
                       struct byre_error *err);
void compact_moves_done(struct moves *moves);
/* The move of what lies at `from`, or NULL. */
struct move *compact_moves_find(struct moves *moves, uint64_t from);

/* Finds the boundary. */
void compact_bound(struct compact *c);

/*
 * Plans moves of what lies behind the boundary into holes before it, in the
 * order of the disk, as many as a batch takes.
 */
int compact_plan(struct compact *c, enum compact_part part,
                 struct byre_error *err);

/* ---- compact_move.c ---- */

/* Carries out the plan; *ret_any tells whether there was anything to do. */
int compact_move(struct compact *c, enum compact_part part, bool *ret_any,
                 struct byre_error *err);

/* ---- compact_tables.c ---- */

/* Moves tables that are in the way of the end; settles after each. */
int compact_move_tables(struct compact *c, bool *ret_any,
                        struct byre_error *err);

#endif
