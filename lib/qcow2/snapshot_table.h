/* SPDX-License-Identifier: MIT */
/*
 * Another snapshot table: written anew, and switched to by one write of the
 * header.
 */
#ifndef BYRE_QCOW2_SNAPSHOT_TABLE_H
#define BYRE_QCOW2_SNAPSHOT_TABLE_H

#include "qcow2/allocator.h"
#include "qcow2/internal.h"

struct snapshot_table {
    struct snapshot_list list;
    struct host_run run; /* no clusters: there is nothing in it */
    struct range_set guard;
};

/*
 * Writes a table of `entries` to a place of its own; nothing refers to it yet,
 * and it is not durable.  The image's metadata are not to change until it is
 * switched to or given up.
 */
int snapshot_table_prepare(struct qcow2 *qcow2,
                           const struct qcow2_snapshot *entries, size_t count,
                           struct snapshot_table *ret_table,
                           struct byre_error *err);

/* Instead of switching; a zeroed one is allowed. */
void snapshot_table_give_up(struct qcow2 *qcow2, struct snapshot_table *table);

/*
 * Makes it the image's, when it and all that it refers to are durable.  *table
 * is zeroed then; on failure nothing is written any more, and it is still to be
 * given up.  The space of the old one is released.
 */
int snapshot_table_switch(struct qcow2 *qcow2, struct snapshot_table *table,
                          struct byre_error *err);

#endif
