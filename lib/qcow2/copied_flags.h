/* SPDX-License-Identifier: MIT */
/*
 * The COPIED flags of the active tree: set where a cluster has a single owner,
 * so that it may be written in place.
 */
#ifndef BYRE_QCOW2_COPIED_FLAGS_H
#define BYRE_QCOW2_COPIED_FLAGS_H

#include "qcow2/references.h"

/*
 * Makes the flags in the active L1 table and its L2 tables agree with the
 * refcounts, all as they are in the store: set if and only if the count is
 * exactly 1, or the cluster is in an external data file; never for compressed
 * clusters, nor where there is no cluster.  Entries that point to no place
 * where a cluster could be stay as they are.  Writes the sectors that change,
 * and what lies between them in a table, once for every walk; no barrier.
 *
 * Works in about `budget_bytes` and REFERENCES_BUFFER_BYTES.  The caller holds
 * the image alone, and drops what it has cached of the tables.
 */
int copied_flags_correct(struct qcow2 *qcow2, uint64_t budget_bytes,
                         struct byre_error *err);

/* Who looks at the flags first. */
struct copied_flags_ops {
    /* Whether to leave out the entries of a table: positive.  Asked of each
       reference. */
    int (*leaves_out)(void *user, const struct reference *ref,
                      struct byre_error *err);
    /* An entry's flag is wrong: positive has it corrected, zero not. */
    int (*wrong)(void *user, const struct reference *ref,
                 struct byre_error *err);
};

/* The same, asking `ops`; a refcount block that cannot be counts as zeroes. */
int copied_flags_walk(struct qcow2 *qcow2, uint64_t budget_bytes,
                      const struct copied_flags_ops *ops, void *user,
                      struct byre_error *err);

/*
 * Clears the flags in L2 tables of any tree, where they are set; no barrier.
 * The caller does as above.
 */
int copied_flags_clear(struct qcow2 *qcow2, const struct l2_reference *tables,
                       size_t count, struct byre_error *err);

#endif
