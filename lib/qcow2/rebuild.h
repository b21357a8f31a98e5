/* SPDX-License-Identifier: MIT */
/*
 * Refcounts made anew from what refers to clusters: for an image that was not
 * closed, and for one whose refcounts check finds wrong beyond mending.
 */
#ifndef BYRE_QCOW2_REBUILD_H
#define BYRE_QCOW2_REBUILD_H

#include "qcow2/internal.h"

/*
 * Counts all references of the image, writes a new refcount table with its
 * blocks, switches the header to it, corrects the COPIED flags of the active
 * tree, and clears the dirty bit, each durable before the next.  A crash at any
 * point leaves the old tables or the new ones, dirty until all is right
 * (version 2 has no such bit: there the flags may be as wrong as they were).
 * The old table and its blocks are free afterwards.
 *
 * BYRE_E_CORRUPT, with nothing written, if an entry cannot be, a structure of
 * the image shares a cluster with something else, or a cluster is referred to
 * more often than the width of the refcounts allows: then check must look.  The
 * new structure goes behind all that is in use; on a device that ends there,
 * into the first free room that is large enough; BYRE_E_LIMIT if there is none.
 *
 * Works in about `budget_bytes`, but no less than 1 MiB and a cluster; a budget
 * that holds five bytes for each cluster of the file saves walks.
 *
 * The caller holds the image alone, and has no tables cached or loads them
 * again afterwards.  Changes qcow2->header as it changes the file.  After a
 * failure while writing, the image must be opened again.
 */
int qcow2_rebuild_refcounts(struct qcow2 *qcow2, uint64_t budget_bytes,
                            struct byre_error *err);

/* A rebuild that gives the counts another width, and can be watched. */
struct rebuild_options {
    uint32_t refcount_order;
    /* NULL: nobody watches.  Ends it only before anything is written. */
    const struct engine_progress *progress;
    uint64_t budget_bytes;
    /* Into the first free room that is large enough, for an image that was
       emptied, whose old blocks keep the file long.  BYRE_E_LIMIT, with nothing
       written, if there is none. */
    bool low;
};

/* BYRE_E_LIMIT where a count does not fit a width that the image does not have.
 */
int qcow2_rebuild_as(struct qcow2 *qcow2, const struct rebuild_options *options,
                     struct byre_error *err);

/* Whether that would be refused; writes nothing. */
int qcow2_rebuild_check(struct qcow2 *qcow2,
                        const struct rebuild_options *options,
                        struct byre_error *err);

/*
 * The first half of that, for a check that has looked: whatever is wrong with
 * entries, all that they refer to within the file is counted, as far as the
 * refcounts are wide enough.  Flags and dirty bit stay as they are.
 */
int qcow2_replace_refcounts(struct qcow2 *qcow2, uint64_t budget_bytes,
                            struct byre_error *err);

#endif
