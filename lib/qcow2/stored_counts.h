/* SPDX-License-Identifier: MIT */
/*
 * The refcounts as the file has them, a block at a time, straight from the
 * store: for who looks at all of them, and changes some in place.
 */
#ifndef BYRE_QCOW2_STORED_COUNTS_H
#define BYRE_QCOW2_STORED_COUNTS_H

#include "qcow2/internal.h"

#define STORED_PIECE_ENTRIES 512

enum stored_state {
    STORED_NONE,   /* no block: all its counts are 0 */
    STORED_BLOCK,  /* `block` holds it */
    STORED_DAMAGED /* the table entry can point to no block */
};

struct stored_counts {
    struct qcow2 *qcow2;
    uint64_t per_block;     /* counts in a block */
    uint64_t table_entries; /* 0 if the header's table cannot be */

    uint64_t index; /* of the block that is loaded */
    enum stored_state state;
    uint64_t raw; /* its entry in the table */
    uint64_t offset;
    uint8_t *block;
    bool changed;

    uint64_t piece_first; /* of the table; BYRE_NO_OFFSET: none */
    uint8_t piece[STORED_PIECE_ENTRIES * 8];
};

int stored_counts_init(struct stored_counts *stored, struct qcow2 *qcow2,
                       struct byre_error *err);
void stored_counts_done(struct stored_counts *stored);

/* Loads block `index`; first writes the one before, if it was changed. */
int stored_counts_load(struct stored_counts *stored, uint64_t index,
                       struct byre_error *err);

/* Writes the block that was changed.  No barrier. */
int stored_counts_save(struct stored_counts *stored, struct byre_error *err);

/*
 * One count anywhere, without loading its block: false if it cannot be read,
 * since the table entry can point to no block.  The block must not be changed.
 */
int stored_counts_peek(struct stored_counts *stored, uint64_t cluster,
                       bool *ret_known, uint64_t *ret_count,
                       struct byre_error *err);

/* A count of the block that is loaded, by its place in it. */
uint64_t stored_counts_get(const struct stored_counts *stored, uint64_t place);
/* The same to change; there is a block, and `count` fits. */
void stored_counts_put(struct stored_counts *stored, uint64_t place,
                       uint64_t count);

#endif
