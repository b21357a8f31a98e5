/* SPDX-License-Identifier: MIT */
/*
 * What creating and applying a snapshot share: a copy of an L1 table, and the
 * flags of the active tree.
 */
#ifndef BYRE_QCOW2_SNAPSHOT_TREE_H
#define BYRE_QCOW2_SNAPSHOT_TREE_H

#include "qcow2/allocator.h"
#include "qcow2/l2_list.h"

/* No data file, and nothing stuck. */
int snapshot_check_allowed(struct qcow2 *qcow2, struct byre_error *err);

/*
 * Takes clusters for an L1 table of `count` entries and writes it there, with
 * no flag set; no barrier.  Nothing is taken for none.
 */
int snapshot_write_l1(struct qcow2 *qcow2, const uint64_t *entries,
                      uint64_t count, struct host_run *ret_run,
                      struct byre_error *err);

/* Loads the L1 table of a snapshot, as far as the file has it. */
int snapshot_load_l1(struct qcow2 *qcow2, const struct qcow2_snapshot *snapshot,
                     uint64_t **ret_entries, uint64_t *ret_count,
                     struct byre_error *err);

/*
 * Sets the COPIED flags of the active tree anew, durably; all counts are in the
 * file, and nothing else is changed.
 */
int snapshot_correct_flags(struct qcow2 *qcow2, struct byre_error *err);

#endif
