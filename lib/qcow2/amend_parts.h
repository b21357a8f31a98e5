/* SPDX-License-Identifier: MIT */
/*
 * Changing what an image is, as its files share it:
 *
 *     amend.c          the steps in their order
 *     amend_check.c    what the image becomes, and whether it may
 *     amend_version.c  the header of the other version
 *     amend_zeroes.c   entries that version 2 does not have
 */
#ifndef BYRE_QCOW2_AMEND_PARTS_H
#define BYRE_QCOW2_AMEND_PARTS_H

#include "qcow2/internal.h"
#include "qcow2/rebuild.h"

/* What counting references and mending flags may take. */
#define AMEND_BUDGET_BYTES (UINT64_C(64) << 20)

struct amend {
    struct qcow2 *qcow2;
    const struct byre_amend_options *opts;
    const struct engine_progress *progress; /* NULL: nobody watches */

    /* What the image becomes. */
    uint32_t version;
    uint32_t refcount_order;
    uint64_t size_bytes;
    bool lazy_refcounts;
    /* Entries that version 2 does not have are there. */
    bool has_zeroes;
};

static inline bool amend_takes(const struct amend *amend, uint32_t which)
{
    return (amend->opts->which & which) != 0;
}

/* How its refcounts are made anew. */
struct rebuild_options amend_rebuild_options(const struct amend *amend);

/* The same, and what is held of the tables is loaded again. */
int amend_rebuild(struct amend *amend, struct byre_error *err);

/* amend_check.c: fills what the image becomes; refuses what cannot be, with
   nothing touched. */
int amend_check(struct amend *amend, struct byre_error *err);

/* amend_version.c */
int amend_upgrade(struct amend *amend, struct byre_error *err);
int amend_downgrade(struct amend *amend, struct byre_error *err);

/*
 * amend_zeroes.c: gives the entries that read as zeroes by their flag what
 * reads so without it.
 */
int amend_expand_zeroes(struct amend *amend, struct byre_error *err);

#endif
