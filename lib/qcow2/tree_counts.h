/* SPDX-License-Identifier: MIT */
/*
 * The counts of all that L2 tables refer to, and of the tables themselves, when
 * a tree gets or loses an owner.  One walk each: tables are read in large
 * pieces, counts are changed in the allocator's cache, for runs of clusters.
 */
#ifndef BYRE_QCOW2_TREE_COUNTS_H
#define BYRE_QCOW2_TREE_COUNTS_H

#include "qcow2/l2_list.h"

/*
 * Whether each table and cluster is where one can be, and can be referred to
 * once more: BYRE_E_CORRUPT, BYRE_E_LIMIT.
 */
int tree_counts_check(struct qcow2 *qcow2, const struct l2_list *list,
                      struct byre_error *err);

/* Counts all once more, or, as far as that is possible, none. */
int tree_counts_raise(struct qcow2 *qcow2, const struct l2_list *list,
                      struct byre_error *err);
/* And that back. */
void tree_counts_lower(struct qcow2 *qcow2, const struct l2_list *list);

/*
 * Releases all, so many times as tables of the list are referred to; flushes
 * now and then, so that the memory for it has bounds.  What cannot be where the
 * tables say is left alone.
 */
int tree_counts_release(struct qcow2 *qcow2, const struct l2_list *list,
                        struct byre_error *err);

#endif
