/* SPDX-License-Identifier: MIT */
/*
 * A walk over references (references.h), as the files that walk share it: how
 * one reference is visited, and how a table is read in pieces.
 */
#ifndef BYRE_QCOW2_REFERENCE_WALK_H
#define BYRE_QCOW2_REFERENCE_WALK_H

#include "qcow2/references.h"

/* One buffer for the tables of each level: an L1 table is walked while its L2
   tables are. */
#define REFERENCE_PIECE_BYTES (REFERENCES_BUFFER_BYTES / 2)

enum reference_level { REFERENCE_OUTER, REFERENCE_INNER, REFERENCE_LEVELS };

struct reference_walk {
    struct qcow2 *qcow2;
    uint32_t what; /* REFERENCES_* */
    reference_visit *visit;
    void *user;
    uint8_t *pieces[REFERENCE_LEVELS];
    uint64_t cluster_bytes;
    uint64_t file_bytes;
};

/* REFERENCE_BEYOND_*, or 0. */
uint32_t reference_place_faults(const struct reference_walk *walk,
                                uint64_t offset, uint64_t bytes);

/* Shows the visitor a reference, unless there is nothing to it. */
int reference_show(const struct reference_walk *walk, struct reference *ref,
                   struct byre_error *err);

/* The same for what the header describes. */
int reference_show_table(const struct reference_walk *walk,
                         enum reference_owner owner, uint64_t offset,
                         uint64_t bytes, uint32_t faults,
                         struct byre_error *err);

/* One entry of `table` that is not all zero; `entry` points to its bytes. */
typedef int reference_entry_visit(struct reference_walk *walk,
                                  const struct reference *table, uint64_t index,
                                  const uint8_t *entry, struct byre_error *err);

/*
 * Calls `each` for the entries, of `words` words, of the table that `table`
 * refers to.  What lies past the end of the file is zero and is not read.
 */
int reference_walk_entries(struct reference_walk *walk,
                           const struct reference *table,
                           enum reference_level level, uint32_t words,
                           reference_entry_visit *each, struct byre_error *err);

/* The same for a piece of it that is here already: entries from `first` on. */
int reference_walk_piece(struct reference_walk *walk,
                         const struct reference *table, const uint8_t *piece,
                         uint64_t first, uint64_t count, uint32_t words,
                         reference_entry_visit *each, struct byre_error *err);

/* Whether a table can be where its reference says it is. */
bool reference_can_walk(const struct reference *table);

/* reference_trees.c */
int reference_walk_active(struct reference_walk *walk, struct byre_error *err);
int reference_walk_snapshots(struct reference_walk *walk,
                             struct byre_error *err);
int reference_walk_tables(struct reference_walk *walk,
                          const struct l2_reference *tables, size_t count,
                          struct byre_error *err);

#endif
