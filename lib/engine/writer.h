/* SPDX-License-Identifier: MIT */
/*
 * The write path that the formats with tables share: overwriting in place,
 * copying on write, and the flush that orders it all (docs/crash-safety.md).
 *
 * A write takes the run at its offset and asks the format for a plan:
 *
 *   PLAN_OVERWRITE  the clusters are this image's alone: the data goes there,
 *                   without a lock;
 *   PLAN_FILL       room is reserved, but what it holds is not what the disk
 *                   reads: data and what surrounds it go there, then the
 *                   entries are changed;
 *   PLAN_ALLOCATE   the same in new clusters.
 *
 * Locks, outermost first: range of guest clusters (held across I/O), making of
 * an L2 table (the same), flush; then the leaves, never held across I/O: L1,
 * table cache, allocator, metadata.
 */
#ifndef BYRE_ENGINE_WRITER_H
#define BYRE_ENGINE_WRITER_H

#include "engine/engine.h"
#include "engine/l1.h"
#include "engine/range_lock.h"
#include "engine/table_cache.h"
#include "engine/transfer.h"

enum plan_action { PLAN_OVERWRITE, PLAN_FILL, PLAN_ALLOCATE };

struct write_plan {
    uint64_t guest_offset;
    uint64_t length; /* of data, within one slice of a table */
    enum plan_action action;
    struct byre_store *store;
    uint64_t host_offset; /* of the cluster that holds guest_offset */
    uint64_t fill_bytes;  /* what is written in part is filled up to this */
    bool reads_zero;      /* nothing was ever written there */
};

/* What the write path asks of a format.  All may read tables. */
struct writer_ops {
    /*
     * With guest_offset and length set, decides on the action for a run of the
     * range and shortens the length to it; BYRE_E_CORRUPT for entries that
     * cannot be.
     */
    int (*plan)(struct engine *engine, struct write_plan *plan,
                struct byre_error *err);
    /* PLAN_ALLOCATE: takes clusters, perhaps for a part of the length only. */
    int (*allocate)(struct engine *engine, struct write_plan *plan,
                    struct byre_error *err);
    /* The data is in its place: changes the entries, drops what they had. */
    int (*link)(struct engine *engine, const struct write_plan *plan,
                struct byre_error *err);
    /* PLAN_ALLOCATE came to nothing. */
    void (*give_back)(struct engine *engine, const struct write_plan *plan);

    /* The same for a compressed stream of `bytes`, one whole cluster's.
       allocate_stream fails with BYRE_E_STATE where the cluster holds
       something already. */
    int (*allocate_stream)(struct engine *engine, struct write_plan *plan,
                           uint32_t bytes, struct byre_error *err);
    int (*link_stream)(struct engine *engine, const struct write_plan *plan,
                       uint32_t bytes, struct byre_error *err);
    void (*give_back_stream)(struct engine *engine,
                             const struct write_plan *plan, uint32_t bytes);

    /* A write at this place of `store` is allowed. */
    int (*guard)(struct engine *engine, struct byre_store *store,
                 uint64_t host_offset, uint64_t bytes, struct byre_error *err);

    /* The format's part of a flush, or NULL (qcow2/allocator.h). */
    int (*flush_begin)(struct engine *engine, void **ret_batch,
                       struct byre_error *err);
    int (*flush_counts)(struct engine *engine, struct byre_error *err);
    void (*flush_durable)(struct engine *engine);
    int (*flush_unlinked)(struct engine *engine, void *batch,
                          struct byre_error *err);
    void (*flush_failed)(struct engine *engine, void *batch);
};

struct encoders; /* encoders.h */

struct writer {
    struct engine *engine;
    const struct writer_ops *ops;
    struct byre_store *store;      /* of the tables */
    struct byre_store *data_store; /* of the clusters; often the same */
    struct transfer *transfer;
    struct table_cache *tables;
    struct l1_table *l1;
    struct engine_backing backing;
    struct encoders *encoders;

    struct range_locks clusters; /* of guest clusters whose entries change */
    struct range_locks making;   /* of L1 entries whose table is being made */

    pthread_mutex_t flush_lock;
    atomic_uint_fast64_t flushes_wanted;
    uint64_t flushes_done; /* of those wanted, the last one served */
    atomic_uint_fast64_t flushes_run;
    unsigned failed_flushes; /* of the stores, before this writer */

    pthread_mutex_t stuck_lock;
    atomic_bool stuck; /* nothing may be written any more */
    char why[BYRE_ERROR_MESSAGE_SIZE];
};

/*
 * Sets up a writer whose members up to `backing` are set.  `codec` is for
 * compressed clusters.
 */
int writer_init(struct writer *writer, enum codec_type codec,
                struct byre_error *err);
/* One that is not set up is allowed; it is not set up afterwards. */
void writer_done(struct writer *writer);

/*
 * Whether it stands between the tables and their readers: from writer_init()
 * on, and still after an end of writing that has failed.
 */
static inline bool writer_is_set_up(const struct writer *writer)
{
    return writer->encoders != NULL;
}

/* Nothing may be written from now on, for the reason in `err`. */
void writer_stick(struct writer *writer, const struct byre_error *err);

/* Barriers of the stores that have failed so far. */
unsigned writer_failed_flushes(const struct writer *writer);

/* Fails if that has happened. */
int writer_check(struct writer *writer, struct byre_error *err);

/* ---- Data (write.c); the engine's own calls are made of these ---- */

int writer_write(struct writer *writer, uint64_t offset, const void *buf,
                 size_t length, uint32_t flags, const struct write_order *order,
                 struct byre_error *err);

/*
 * Makes a range zero by writing, but for what reads as zero already.  With
 * BYRE_WRITE_FAST_ZERO it fails instead of writing.
 */
int writer_write_zeroes(struct writer *writer, uint64_t offset, uint64_t length,
                        uint32_t flags, struct byre_error *err);

/*
 * Whether the start of a range of the disk is known to read as zero, and for
 * how long the answer holds.
 */
int writer_is_zero(struct writer *writer, uint64_t offset, uint64_t length,
                   bool *ret_zero, uint64_t *ret_length,
                   struct byre_error *err);

/* ---- Tables ---- */

/*
 * Load a slice; where only changed ones are in the way, a flush comes first.
 * If nothing may be written any more, there is no room: who wants to change the
 * slice fails, and who reads it gets TABLE_CACHE_FULL (table_cache_peek()).
 */
int writer_load_slice(struct writer *writer, uint64_t host_offset,
                      struct byre_error *err);
int writer_load_slice_to_read(struct writer *writer, uint64_t host_offset,
                              struct byre_error *err);

/* ---- Flush (flush.c) ---- */

/*
 * What completed before the call is durable when it returns.  If a barrier
 * fails, this one or any of the format's, nothing is written any more.
 */
int writer_flush(struct writer *writer, struct byre_error *err);

/* The same, unless one has run since writer->flushes_run was `seen`. */
int writer_flush_since(struct writer *writer, uint64_t seen,
                       struct byre_error *err);

/* A barrier of both stores. */
int writer_barrier(struct writer *writer, struct byre_error *err);

#endif
