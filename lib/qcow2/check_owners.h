/* SPDX-License-Identifier: MIT */
/*
 * Clusters that more than one thing uses, and by which names: those found are
 * noted, then one walk finds who refers to them.
 */
#ifndef BYRE_QCOW2_CHECK_OWNERS_H
#define BYRE_QCOW2_CHECK_OWNERS_H

#include "qcow2/references.h"

struct check;

#define CHECK_MOST_SHARED 1024

struct check_shared {
    uint64_t cluster;
    bool overlaps; /* things share it that cannot; else its count is wrong */
    uint64_t stored;
    uint64_t counted;
    bool repaired;
    bool copied; /* data got a cluster of its own: `copy` as it was before */
    struct reference copy;
    uint64_t owner_count;
    struct reference owners[2]; /* the first two */
};

struct check_owners {
    struct check_shared *shared; /* CHECK_MOST_SHARED; NULL: none yet */
    size_t count;
    bool more; /* there was no room for all overlaps */
};

void check_owners_done(struct check_owners *owners);

/* Whether it was noted: one overlap a cluster, as long as there is room. */
bool check_owners_note(struct check *check, const struct check_shared *shared);

/* Whether a cluster of [offset, offset + bytes) has a noted overlap. */
bool check_owners_overlap(const struct check_owners *owners,
                          uint64_t cluster_bytes, uint64_t offset,
                          uint64_t bytes);

/* Notes that data of an overlap has a cluster of its own now. */
void check_owners_copied(struct check *check, const struct reference *ref);

/* Finds the owners, reports all that was noted, and forgets the counts. */
int check_owners_report(struct check *check, struct byre_error *err);

#endif
