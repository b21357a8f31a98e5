/* SPDX-License-Identifier: MIT */
/*
 * The L2 tables that one or several L1 tables refer to, each once, in the order
 * of the file: however many trees share a table, it is walked once
 * (references_walk_tables()).
 */
#ifndef BYRE_QCOW2_L2_LIST_H
#define BYRE_QCOW2_L2_LIST_H

#include "qcow2/references.h"

struct l2_list {
    struct l2_reference *tables;
    size_t count;
    size_t capacity;
};

void l2_list_done(struct l2_list *list);

/*
 * Adds the tables that `count` entries of an L1 table refer to.  An entry that
 * points to no multiple of the cluster size is BYRE_E_CORRUPT, or left out if
 * `lenient`.
 */
int l2_list_add(struct l2_list *list, const struct qcow2 *qcow2,
                const uint64_t *entries, uint64_t count, bool lenient,
                struct byre_error *err);

/* When all are added, before the list is used. */
void l2_list_sort(struct l2_list *list);

/* Takes out of both sorted lists what both have, as often as both do. */
void l2_list_part(struct l2_list *a, struct l2_list *b);

/* A copy. */
int l2_list_copy(struct l2_list *ret_list, const struct l2_list *list,
                 struct byre_error *err);

/* The list of the active disk, sorted. */
int l2_list_active(struct l2_list *ret_list, const struct qcow2 *qcow2,
                   struct byre_error *err);

#endif
