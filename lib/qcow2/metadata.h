/* SPDX-License-Identifier: MIT */
/*
 * The guard before every write: where the image's own structures are, as an
 * ordered set in memory that changes with each allocation.  A write of data
 * that would hit one of them shows that the tables lie.
 *
 * May be used by many threads at once.
 */
#ifndef BYRE_QCOW2_METADATA_H
#define BYRE_QCOW2_METADATA_H

#include <pthread.h>

#include "base/range_set.h"
#include "byre.h"

enum metadata_kind {
    METADATA_HEADER,
    METADATA_REFCOUNT_TABLE,
    METADATA_REFCOUNT_BLOCK,
    METADATA_L1,
    METADATA_L2,
    METADATA_SNAPSHOT_TABLE,
    METADATA_SNAPSHOT_L1,
    METADATA_LUKS,
    METADATA_BITMAPS
};

struct metadata {
    pthread_rwlock_t lock;
    struct range_set set;
};

void metadata_init(struct metadata *metadata);
void metadata_done(struct metadata *metadata);

/*
 * Adds a structure, rounded out to whole clusters of `cluster_bytes`.  One that
 * overlaps another is BYRE_E_CORRUPT, and names both.
 */
int metadata_add(struct metadata *metadata, enum metadata_kind kind,
                 uint64_t offset, uint64_t bytes, uint64_t cluster_bytes,
                 struct byre_error *err);

int metadata_remove(struct metadata *metadata, uint64_t offset, uint64_t bytes,
                    struct byre_error *err);

/*
 * Makes a set of what `metadata` has but for the kinds in `without`, a mask of
 * 1 << kind, and of the structures in `added`, of whole clusters and in
 * ascending order: for metadata_install(), which cannot fail.
 */
int metadata_derive(struct metadata *metadata, unsigned without,
                    const struct range *added, size_t count,
                    struct range_set *ret_set, struct byre_error *err);
/* Takes over the set, in the place of what there was. */
void metadata_install(struct metadata *metadata, struct range_set *set);

/*
 * BYRE_E_CORRUPT if a write of `bytes` at `offset` would hit a structure; the
 * message says which.
 */
int metadata_check(struct metadata *metadata, uint64_t offset, uint64_t bytes,
                   struct byre_error *err);

/* Where the last structure ends. */
uint64_t metadata_end(struct metadata *metadata);

#endif
