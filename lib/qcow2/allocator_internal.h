/* SPDX-License-Identifier: MIT */
/*
 * What the files of the allocator share:
 *
 *     allocator.c           taking clusters, giving them back
 *     allocator_whole.c     taking many in a row
 *     allocator_stream.c    taking room for compressed streams
 *     allocator_raise.c     one more pointer to what is in use already
 *     allocator_open.c      loading and checking the table
 *     refcount_cache.c      slices of refcount blocks
 *     refcount_writeback.c  writing them
 *     refcount_growth.c     new blocks, larger tables
 *     refcount_table.c      writing the table
 *     releases.c            what is released, until it may be used again
 *
 * Locks, in the order in which they are taken: `growth`, of whoever adds blocks
 * or writes the table, held across I/O; `lock`, never held across I/O; the lock
 * of the metadata.
 *
 * What needs counts is a step: a function that works under `lock` on what is in
 * memory, and where something is missing says so and is called again when it is
 * there.  A step keeps in its state how far it has come.
 */
#ifndef BYRE_QCOW2_ALLOCATOR_INTERNAL_H
#define BYRE_QCOW2_ALLOCATOR_INTERNAL_H

#include "qcow2/allocator.h"

#define REFCOUNT_SLICE_MAX_BYTES 4096

/* Host offsets of entries have 56 bits. */
#define HOST_OFFSET_LIMIT (UINT64_C(1) << 56)

/*
 * A part of a refcount block.  While it is loading its bytes mean nothing, and
 * others wait; while it is being written it is used and changed as ever, but
 * stays, so that nobody reads old bytes of the store.
 */
struct refcount_slice {
    struct refcount_slice *next; /* of its bucket */
    uint64_t number;             /* its first cluster over those of a slice */
    bool loading;
    bool writing;
    bool dirty; /* changed since a write of it began */
    bool used;  /* since the hand of the clock came by */
    uint8_t bytes[];
};

struct refcount_cache {
    struct refcount_slice **slices; /* in no order */
    size_t count;
    size_t limit;
    size_t hand; /* of the clock that chooses victims */
    struct refcount_slice **buckets;
    uint32_t bucket_bits;
};

/* Clusters in a row, each of which has lost as many pointers. */
struct release {
    uint64_t cluster;
    uint64_t clusters;
    uint32_t times; /* pointers */
    unsigned flags; /* ALLOCATOR_* */
};

struct release_batch {
    struct release *releases;
    size_t count;
    size_t capacity;
    size_t done;   /* of them, lowered */
    uint64_t mark; /* of the gate; the pointers were gone before */
    struct release_batch *next;
};

/* What one flush has freed: counts of 0 that must not be used yet. */
struct quarantine {
    struct range_set clusters; /* the kinds are ALLOCATOR_* flags */
    uint64_t mark;
    bool written; /* its counts are, and the next barrier covers them */
    bool durable;
    struct quarantine *next;
};

struct allocator {
    struct qcow2 *qcow2;
    struct metadata *metadata;
    struct gate *gate;
    struct byre_store *store;

    /* Never changed. */
    uint32_t cluster_bits;
    uint32_t refcount_order;
    uint32_t block_bits; /* log2 of the clusters that a block counts */
    uint32_t slice_bits; /* log2 of those that a slice counts */
    uint32_t slice_bytes;
    uint64_t end_cluster; /* none is taken from here on */

    pthread_mutex_t growth;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a slice was loaded or written */

    /* The refcount table, changed under both locks. */
    uint64_t *table;
    uint64_t table_entries;
    uint64_t table_offset;
    bool table_moved;  /* the header does not point to it yet */
    uint64_t *pending; /* entries that are not written */
    size_t pending_count;
    size_t pending_capacity;

    /* Everything below: under `lock`. */
    struct refcount_cache cache;
    uint64_t hint;         /* no cluster before it is free to be taken */
    uint64_t hint_lowered; /* how often that was */
    uint64_t file_end;     /* the end of all that was ever in the file */
    uint64_t fill_offset;  /* of the next stream, inside a cluster; 0: none */

    struct release_batch noted;     /* since the last flush began */
    struct release_batch *returned; /* by flushes that failed */
    struct quarantine *quarantines; /* changed by flushes only, newest first */
};

static inline uint64_t allocator_cluster_bytes(const struct allocator *a)
{
    return UINT64_C(1) << a->cluster_bits;
}

/* ---- Steps ---- */

/* What a step lacks: the count of a cluster. */
struct need {
    uint64_t cluster;
    bool block; /* it has no refcount block yet */
};

/* Returns 0 when done, 1 with *ret_need filled, or a negative BYRE_E_*. */
typedef int allocator_step(struct allocator *a, void *state,
                           struct need *ret_need, struct byre_error *err);

/* Calls the step, and gets it what it needs, until it is done. */
int allocator_run(struct allocator *a, allocator_step *step, void *state,
                  struct byre_error *err);

/* What a step returns where something is missing. */
int allocator_need_slice(struct need *ret_need, uint64_t cluster);
int allocator_need_block(struct need *ret_need, uint64_t cluster);

/* ---- allocator.c, under `lock` but for what runs steps ---- */

/*
 * No structure may lie where counts that are here say that nothing is.  Where
 * there is no block yet, a new one may be just about to.
 */
int allocator_check_free(struct allocator *a, uint64_t cluster,
                         uint64_t clusters, struct byre_error *err);

/* Counts free clusters of one slice once. */
void allocator_count_once(struct allocator *a, struct refcount_slice *slice,
                          uint64_t cluster, uint64_t clusters);

/* What is handed out, and noted as used. */
struct host_run allocator_make_run(struct allocator *a, uint64_t cluster,
                                   uint64_t clusters);

/* Where a search starts; it moves the hint only if that was not lowered since.
   Without `lock`. */
void allocator_start(struct allocator *a, uint64_t *ret_cursor,
                     uint64_t *ret_hint_lowered);

/* Lowers each count of [cluster, end).  Without `lock`. */
struct lowering {
    uint64_t cluster;
    uint64_t end;
    uint32_t times; /* by how much */
    struct quarantine
        *quarantine; /* of what becomes free; NULL: free at once */
    unsigned flags;
    bool found_free;
    uint64_t free_cluster; /* the first that had no count to lower, or only
                              that of a structure */
};

int allocator_lower(struct allocator *a, struct lowering *lowering,
                    struct byre_error *err);

/* `cluster` may be taken from now on; under `lock`. */
void allocator_lower_hint(struct allocator *a, uint64_t cluster);

int allocator_fail_full(const struct allocator *a, struct byre_error *err);

/* [cluster, cluster + clusters) is used from now on. */
void allocator_note_used(struct allocator *a, uint64_t cluster,
                         uint64_t clusters);

/* ---- refcount_cache.c ---- */

enum slice_state {
    SLICE_HERE,
    SLICE_MISSING,  /* refcount_slice_load() brings it */
    SLICE_NO_BLOCK, /* all counts of the block are 0 */
};

int refcount_cache_init(struct allocator *a, uint64_t cache_bytes,
                        struct byre_error *err);
void refcount_cache_done(struct allocator *a);

/* The slice that counts `cluster`, under `lock`. */
enum slice_state refcount_slice_find(struct allocator *a, uint64_t cluster,
                                     struct refcount_slice **ret_slice);

/* Without `lock`. */
int refcount_slice_load(struct allocator *a, uint64_t cluster,
                        struct byre_error *err);

/* The slice, loading or not, or NULL; under `lock`. */
struct refcount_slice *refcount_cache_get(const struct refcount_cache *cache,
                                          uint64_t number);

/* Where it is in the file; blocks never move.  Under `lock`. */
uint64_t refcount_slice_offset(const struct allocator *a, uint64_t number);

/* ---- refcount_writeback.c ---- */

/* Under `lock`, which is dropped meanwhile; the slice stays. */
int refcount_slice_write(struct allocator *a, struct refcount_slice *slice,
                         struct byre_error *err);

/* Writes all slices that are dirty when it starts.  Without `lock`. */
int refcount_slices_write(struct allocator *a, struct byre_error *err);

bool refcount_cache_is_dirty(const struct allocator *a);

/* ---- What is in a slice: refcount_cache.c, under `lock` ---- */

static inline uint64_t slice_first(const struct allocator *a,
                                   const struct refcount_slice *slice)
{
    return slice->number << a->slice_bits;
}

static inline uint64_t slice_end(const struct allocator *a,
                                 const struct refcount_slice *slice)
{
    return (slice->number + 1) << a->slice_bits;
}

uint64_t slice_get(const struct allocator *a,
                   const struct refcount_slice *slice, uint64_t cluster);
void slice_put(const struct allocator *a, struct refcount_slice *slice,
               uint64_t cluster, uint64_t count);

/* The first cluster from `cluster` on that may be taken, or the slice's end. */
uint64_t slice_next_free(const struct allocator *a,
                         const struct refcount_slice *slice, uint64_t cluster);

/* How many from `cluster` on may be taken, at most to the slice's end. */
uint64_t slice_free_run(const struct allocator *a,
                        const struct refcount_slice *slice, uint64_t cluster,
                        uint64_t clusters);

/* ---- refcount_growth.c ---- */

/* Gives `cluster` a refcount block, and room in the table.  Without `lock`. */
int refcount_growth_add_block(struct allocator *a, uint64_t cluster,
                              struct byre_error *err);

/* ---- refcount_table.c ---- */

/*
 * Writes what is not written of the table, and points the header to it; under
 * `growth`, when all slices are written.
 */
int refcount_table_write(struct allocator *a, struct byre_error *err);

/* ---- releases.c ---- */

/* The first range in quarantine that overlaps; under `lock`. */
const struct range *quarantine_find(const struct allocator *a, uint64_t cluster,
                                    uint64_t clusters);

void releases_done(struct allocator *a);

/* allocator_release() under `lock`. */
int releases_note(struct allocator *a, struct release release,
                  struct byre_error *err);

#endif
