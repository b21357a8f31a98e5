/* SPDX-License-Identifier: MIT */
/*
 * Which host clusters are in use: allocation, release, and the refcounts behind
 * them, of an image that is open for writing.
 *
 * The refcount table is held in memory, the blocks in slices of at most 4 KiB
 * in a write-back cache with a budget.  One lock, never held across I/O.
 *
 * The order on disk (docs/crash-safety.md) is kept between this module and the
 * one flush of the engine:
 *
 * 1. Counts are raised in the cache when something is allocated.  Slices may be
 *    written at any time: what they say too early is a leak at worst.
 * 2. A new refcount block is written whole before the table entry that points
 *    to it, with a barrier between; a new table before the header.
 * 3. A release is only noted.  When the flush that made the removed pointer
 *    durable says so, the counts are lowered in the cache; clusters that nobody
 *    refers to any more stay in quarantine until that is durable too and every
 *    plan made before has ended (gate.h).  Then they are free for use, and the
 *    space of those that ask for it is given back to the file.
 *
 * A flush by the engine goes so; any failing step ends it:
 *
 *     allocator_flush_begin(a, &batch)
 *     ... takes what is dirty of L1 and L2, with its content ...
 *     allocator_flush_counts(a)          raised (and lowered) counts, tables
 *     barrier: data file, then image
 *     allocator_flush_durable(a)         what was lowered before is free
 *     ... writes L2 slices and L1 entries; barrier ...
 *     allocator_flush_unlinked(a, batch) lowers the counts of the batch
 *
 * or, where any of it failed, allocator_flush_failed(a, batch), which puts back
 * what is left of the batch.
 */
#ifndef BYRE_QCOW2_ALLOCATOR_H
#define BYRE_QCOW2_ALLOCATOR_H

#include <stdbool.h>

#include "engine/gate.h"
#include "qcow2/internal.h"
#include "qcow2/metadata.h"

struct allocator;

/* A run of host clusters. */
struct host_run {
    uint64_t offset;
    uint64_t clusters;
    bool reads_zero; /* it lies past all that was ever in the file */
};

/*
 * Loads the refcount table of `qcow2` (its store and header; both must outlive
 * the allocator), and adds table and blocks to `metadata`.  BYRE_E_CORRUPT for
 * a table or block that cannot be, and for a header, L1 or refcount table whose
 * own clusters count as free.
 */
int allocator_new(struct qcow2 *qcow2, struct metadata *metadata,
                  struct gate *gate, uint64_t cache_bytes,
                  struct allocator **ret_allocator, struct byre_error *err);

/* Writes nothing.  NULL is allowed. */
void allocator_free(struct allocator *allocator);

/*
 * Takes between 1 and `clusters` clusters in a row, the first that are free
 * from a moving hint on, and counts them once.  They hit no metadata: if the
 * refcounts say so, the image is corrupt.  Loads and grows what is missing.
 * BYRE_E_LIMIT if the table cannot grow further.
 */
int allocator_take(struct allocator *allocator, uint64_t clusters,
                   struct host_run *ret_run, struct byre_error *err);

/* The same, but all `clusters` in a row: for tables. */
int allocator_take_all(struct allocator *allocator, uint64_t clusters,
                       struct host_run *ret_run, struct byre_error *err);

/*
 * Takes room for a compressed stream of `bytes` (at most a cluster), right
 * behind the last one where its cluster goes on, which then counts once more;
 * a new cluster where it does not, or where it cannot count further.
 */
int allocator_take_stream(struct allocator *allocator, uint32_t bytes,
                          uint64_t *ret_host_offset, struct byre_error *err);

/* Gives back what was taken, wholly or in part, and never pointed to. */
int allocator_give_back(struct allocator *allocator, uint64_t offset,
                        uint64_t bytes, struct byre_error *err);

/* The space of what is freed is given back to the file. */
#define ALLOCATOR_PUNCH (1u << 0)

/*
 * Notes that one pointer to each cluster that [offset, offset + bytes) touches
 * is gone in memory; `bytes` of a stream are rounded up as its entry has them.
 * Needs memory only: BYRE_E_NOMEM loses space, nothing else.
 */
int allocator_release(struct allocator *allocator, uint64_t offset,
                      uint64_t bytes, unsigned flags, struct byre_error *err);

/* The same where `times` pointers are gone. */
int allocator_release_times(struct allocator *allocator, uint64_t offset,
                            uint64_t bytes, uint32_t times, unsigned flags,
                            struct byre_error *err);

/*
 * Counts each cluster that [offset, offset + bytes) touches once more, all or
 * none.  BYRE_E_LIMIT where the width of refcounts does not allow it,
 * BYRE_E_CORRUPT for a cluster that counts as free.  allocator_can_raise() only
 * looks.
 */
int allocator_raise(struct allocator *allocator, uint64_t offset,
                    uint64_t bytes, struct byre_error *err);
int allocator_can_raise(struct allocator *allocator, uint64_t offset,
                        uint64_t bytes, struct byre_error *err);

/* The count of the cluster at `host_offset`. */
int allocator_get(struct allocator *allocator, uint64_t host_offset,
                  uint64_t *ret_count, struct byre_error *err);

/* ---- The parts of a flush; one at a time ---- */

struct release_batch;

/* Takes the releases noted so far; the batch may be empty (NULL). */
int allocator_flush_begin(struct allocator *allocator,
                          struct release_batch **ret_batch,
                          struct byre_error *err);
/* With new refcount blocks it has a barrier inside, with a new table two. */
int allocator_flush_counts(struct allocator *allocator, struct byre_error *err);
void allocator_flush_durable(struct allocator *allocator);
/*
 * Frees the batch.  On failure what could not be lowered stays in it, for
 * allocator_flush_failed(); BYRE_E_CORRUPT, when all the rest is lowered, for a
 * cluster whose count is 0 already.
 */
int allocator_flush_unlinked(struct allocator *allocator,
                             struct release_batch *batch,
                             struct byre_error *err);
void allocator_flush_failed(struct allocator *allocator,
                            struct release_batch *batch);

/* Whether counts are to be written or clusters to be freed: closing goes on
   flushing until neither is so. */
bool allocator_is_dirty(struct allocator *allocator);

#endif
