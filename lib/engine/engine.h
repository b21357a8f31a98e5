/* SPDX-License-Identifier: MIT */
/*
 * What an engine is: a format's answer to "where is this range?", and the
 * transfer of what it points to.
 *
 * The plan (map) is apart from the transfer (read).  Reading, extents, convert,
 * compare and the exporters all ask map; nobody else decodes an L2 entry.  map
 * touches cached metadata only, and blocks only to load a table that is
 * missing.
 *
 * An engine is opened in steps, since what an image names is opened by
 * permission of the room above: the format's own constructor reads the
 * description; set_data_store, unlock and prepare make it a disk.
 */
#ifndef BYRE_ENGINE_ENGINE_H
#define BYRE_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "byre.h"
#include "engine/gate.h"
#include "format/entry.h"
#include "store/store.h"

/* Where a range of the disk is, in this image. */
struct mapping {
    enum l2_kind kind;
    uint64_t length;          /* bytes for which this holds, never 0 */
    struct byre_store *store; /* holds it; NULL where nothing is stored */
    uint64_t host_offset; /* of the range; L2_COMPRESSED: of the stream; valid
                             where `store` is not NULL */
    uint32_t compressed_bytes; /* L2_COMPRESSED: the most it can span */
    bool in_place; /* L2_DATA: may be overwritten, nobody else refers to it */
    /* L2_INVALID: the entry that is wrong, for the message. */
    const char *table; /* "L1" or "L2" */
    uint64_t entry;
    uint64_t bitmap;
};

/* Which disk of the image to prepare; all NULL: the active one. */
struct snapshot_selector {
    const char *id_or_name;
    const char *id;
    const char *name;
};

static inline bool snapshot_is_selected(const struct snapshot_selector *s)
{
    return s->id_or_name != NULL || s->id != NULL || s->name != NULL;
}

/* Budgets, all set. */
struct engine_limits {
    uint64_t table_cache_bytes;
    uint64_t cluster_cache_bytes;
    uint64_t max_kdf_iterations;
    uint64_t max_table_bytes;
};

/*
 * What an image stands on, for copying on write: the room above lends it.  All
 * zero: nothing, unallocated ranges read as zeroes.
 */
struct engine_backing {
    void *user;
    /* Reads any range; what lies past the end of the backing disk is zero. */
    int (*read)(void *user, uint64_t offset, void *buf, size_t length,
                struct byre_error *err);
    /* Whether the start of a range is known to be zero, and for how long. */
    int (*is_zero)(void *user, uint64_t offset, uint64_t length, bool *ret_zero,
                   uint64_t *ret_length, struct byre_error *err);
};

/*
 * The turns of writers whose allocations shall not depend on who is first: a
 * write waits for its turn before it decides on host positions, and passes it
 * on when all of them are decided.  NULL: no order.  Requests of one order
 * share no cluster: one would hold it while it waits for the other's turn.
 */
struct write_order {
    void *user;
    void (*wait_turn)(void *user);
    void (*pass_turn)(void *user);
};

/* How a disk is opened for writing. */
struct write_options {
    struct engine_backing backing;
    uint64_t refcount_cache_bytes;
    bool keep_space;    /* discards leave the file's space alone */
    bool keep_clusters; /* what they free stays reserved, as zeroes */
    /* Bitmaps that cannot be kept up to date are dropped: otherwise it fails.
     */
    bool may_give_up_bitmaps;
};

struct engine;

/* How far long work in an engine is, and whether to go on. */
struct engine_progress {
    void *user;
    /* `done` of `total` units; BYRE_E_CANCELED ends the work where it may. */
    int (*advance)(void *user, uint64_t done, uint64_t total,
                   struct byre_error *err);
};

/* Where a check puts what it finds. */
struct check_sink {
    void *user;
    void (*found)(void *user, const struct byre_finding *finding);
    struct engine_progress progress;
};

/* The calls of byre.h on bitmaps; those that change them with the gate closed.
 */
struct bitmap_ops {
    int (*add)(struct engine *engine, const char *name,
               uint64_t granularity_bytes, uint32_t flags,
               struct byre_error *err);
    int (*remove)(struct engine *engine, const char *name,
                  struct byre_error *err);
    int (*clear)(struct engine *engine, const char *name,
                 struct byre_error *err);
    int (*set_enabled)(struct engine *engine, const char *name, bool enabled,
                       struct byre_error *err);
    /* Sets all bits that [offset, offset + length) of the disk touches. */
    int (*set)(struct engine *engine, const char *name, uint64_t offset,
               uint64_t length, struct byre_error *err);
    int (*store)(struct engine *engine, struct byre_error *err);
    /* Readers too. */
    int (*extent)(struct engine *engine, const char *name, uint64_t offset,
                  uint64_t length, uint32_t *ret_dirty, uint64_t *ret_length,
                  struct byre_error *err);
};

#define ENGINE_NEEDS_ROOM 1

struct engine_ops;

struct engine {
    const struct engine_ops *ops;
    const char *format;    /* "raw", "qcow" or "qcow2" */
    uint64_t size_bytes;   /* of the disk; prepare may change it */
    uint32_t cluster_bits; /* 0: no clusters */
    uint32_t encryption;   /* BYRE_ENCRYPTION_* */
    bool needs_data_file;  /* clusters live in an external data file */
    /* prepare_write has succeeded, and end_write has not come since.  Changes
       with the gate closed; looked at outside it is a hint. */
    atomic_bool writable;
    struct gate gate; /* data calls pass it */
    /* Space that becomes free is not used again: writers whose allocations are
       ordered want places that do not depend on when a flush comes. */
    bool reuses_nothing;
    char *backing_name;   /* as stored; NULL: none */
    char *backing_format; /* as stored; NULL: not recorded */
    char *data_file_name; /* as stored; NULL: not recorded */
};

/* Members that a format does not have are NULL. */
struct engine_ops {
    /* Fills in what only the format knows. */
    void (*describe)(struct engine *engine, struct byre_info *info);

    int (*luks_info)(struct engine *engine, struct byre_luks_info *info,
                     struct byre_error *err);
    /* Lists of the engine's own, loaded at the first call; thread-safe. */
    int (*snapshots)(struct engine *engine, const struct byre_snapshot **ret,
                     size_t *ret_count, struct byre_error *err);
    int (*bitmaps)(struct engine *engine, const struct byre_bitmap **ret,
                   size_t *ret_count, struct byre_error *err);

    /* Takes a reference of the external data file. */
    void (*set_data_store)(struct engine *engine, struct byre_store *store);
    int (*unlock)(struct engine *engine, const void *passphrase,
                  size_t passphrase_bytes, struct byre_error *err);
    /* Loads what map needs.  Once, before map, read and may_have_holes. */
    int (*prepare)(struct engine *engine,
                   const struct snapshot_selector *selector,
                   struct byre_error *err);

    /*
     * Maps `length` bytes at `guest_offset`, a range within the disk and not
     * empty: the run that starts there, as long as is cheap to tell.
     */
    int (*map)(struct engine *engine, uint64_t guest_offset, uint64_t length,
               struct mapping *ret, struct byre_error *err);
    /*
     * Reads the first `length` bytes of a mapping of `guest_offset` whose kind
     * is L2_DATA or L2_COMPRESSED.  L2_INVALID fails with what is wrong.
     */
    int (*read)(struct engine *engine, const struct mapping *mapping,
                uint64_t guest_offset, void *buf, size_t length,
                struct byre_error *err);
    /*
     * Whether the tables that map `guest_offset` lie past the end of the file,
     * where they read as if nothing was there: BYRE_E_CORRUPT with what is
     * missing.  *ret_length is for how long the answer holds, at most `length`.
     * NULL: they never do, or it is not known.
     */
    int (*find_loss)(struct engine *engine, uint64_t guest_offset,
                     uint64_t length, uint64_t *ret_length,
                     struct byre_error *err);
    /* Whether L2_DATA often lies over holes, so that asking the store pays. */
    bool (*may_have_holes)(struct engine *engine);

    /* ---- Of a disk that is open for writing ---- */

    /*
     * After prepare, and before any of the following: makes the disk writable,
     * repairing what a crash has left.  What the file holds counts then, not
     * what was read before.  On failure the disk can be read as before.  With
     * the gate closed, unless nobody has the disk yet.
     */
    int (*prepare_write)(struct engine *engine,
                         const struct write_options *options,
                         struct byre_error *err);
    /*
     * These are called inside the gate, for ranges within the disk that are not
     * empty; `flags` are those of the public calls but for BYRE_WRITE_FUA.
     */
    int (*write)(struct engine *engine, uint64_t offset, const void *buf,
                 size_t length, uint32_t flags, const struct write_order *order,
                 struct byre_error *err);
    int (*zero)(struct engine *engine, uint64_t offset, uint64_t length,
                uint32_t flags, struct byre_error *err);
    int (*discard)(struct engine *engine, uint64_t offset, uint64_t length,
                   struct byre_error *err);
    /* Outside the gate or inside. */
    int (*flush)(struct engine *engine, struct byre_error *err);
    /* With the gate closed; `size_bytes` is a new one, in sectors. */
    int (*resize)(struct engine *engine, uint64_t size_bytes,
                  uint32_t preallocation, struct byre_error *err);
    /* Flushes all there is, once, when no more calls come. */
    int (*finish)(struct engine *engine, struct byre_error *err);
    /*
     * The end of writing: flushes all there is, and gives up what only writing
     * needs.  On failure too the disk can be read as before, and prepare_write
     * may come again.  With the gate closed.
     */
    int (*end_write)(struct engine *engine, struct byre_error *err);

    /* ---- Structure; with the gate closed, but for those that say so ---- */

    int (*snapshot_create)(struct engine *engine,
                           const struct byre_snapshot_options *opts,
                           struct byre_error *err);
    int (*snapshot_apply)(struct engine *engine,
                          const struct byre_snapshot_ref *ref,
                          struct byre_error *err);
    int (*snapshot_delete)(struct engine *engine,
                           const struct byre_snapshot_ref *refs, size_t count,
                           struct byre_error *err);
    /* Inside the gate.  Writing returns ENGINE_NEEDS_ROOM, with nothing
       written, where vm_state_reserve is to make room for so many bytes first;
       that with the gate closed. */
    int (*vm_state_read)(struct engine *engine, uint64_t offset, void *buf,
                         size_t length, struct byre_error *err);
    int (*vm_state_write)(struct engine *engine, uint64_t offset,
                          const void *buf, size_t length,
                          struct byre_error *err);
    int (*vm_state_reserve)(struct engine *engine, uint64_t bytes,
                            struct byre_error *err);

    const struct bitmap_ops *bitmap_ops; /* NULL: no bitmaps */

    /* Changes the recorded name; NULL: none.  Durable. */
    int (*set_backing_name)(struct engine *engine, const char *name,
                            const char *format, struct byre_error *err);
    /* What it stands on from now on, while it is writable. */
    void (*set_backing)(struct engine *engine,
                        const struct engine_backing *backing);
    /*
     * Leaves all of the disk to what it stands on, durably, and gives the space
     * back.  A crash or a failure leaves any part of it as it was.
     */
    int (*empty)(struct engine *engine, const struct engine_progress *progress,
                 struct byre_error *err);

    /* As byre_amend(); `progress` may be NULL. */
    int (*amend)(struct engine *engine, const struct byre_amend_options *opts,
                 const struct engine_progress *progress,
                 struct byre_error *err);

    int (*key_add)(struct engine *engine, uint32_t slot, const void *passphrase,
                   size_t passphrase_bytes, uint64_t iter_time_msec,
                   uint32_t flags, struct byre_error *err);
    int (*key_erase)(struct engine *engine, uint32_t slot, uint32_t flags,
                     struct byre_error *err);
    int (*key_erase_passphrase)(struct engine *engine, const void *passphrase,
                                size_t passphrase_bytes, uint32_t flags,
                                struct byre_error *err);

    /*
     * Looks at all structures of an image that was opened for this and not
     * prepared.  `findings` gets what is found; `repair` (BYRE_CHECK_*) says
     * what to mend.  Fills the counts of one look: job/check.c looks again.
     * Findings that `repaired` are counted as fixed, the others as they are.
     */
    int (*check)(struct engine *engine, uint32_t repair, uint64_t memory_bytes,
                 const struct check_sink *sink, struct byre_check_result *ret,
                 struct byre_error *err);

    /* A repair's second look found nothing wrong but leaks: takes the marks of
       damage off.  NULL: the format has none. */
    int (*mark_sound)(struct engine *engine, struct byre_error *err);

    /* As byre_compact(). */
    int (*compact)(struct engine *engine,
                   const struct engine_progress *progress,
                   struct byre_compact_result *ret, struct byre_error *err);

    void (*free)(struct engine *engine);
};

/* Sets up the common part of a zeroed engine. */
void engine_init(struct engine *engine, const struct engine_ops *ops);

/* Frees what the common part holds. */
void engine_done(struct engine *engine);

static inline uint64_t engine_cluster_bytes(const struct engine *engine)
{
    return UINT64_C(1) << engine->cluster_bits;
}

/* QEMU counts disks in 512-byte sectors and ignores a part of one. */
#define ENGINE_SECTOR_BYTES 512

/*
 * A new string of `bytes` of `text`, ended at an embedded NUL (as QEMU 7.2
 * does); one that is empty then is no name, and gives NULL.
 */
int engine_copy_string(const void *text, size_t bytes, char **ret_text,
                       struct byre_error *err);

/* The same for `bytes` of text at `offset` of the store; the caller bounds it.
 */
int engine_read_string(struct byre_store *store, uint64_t offset,
                       uint32_t bytes, char **ret_text, struct byre_error *err);

/*
 * Loads a table of `entries` 8-byte words at `offset`, as far as the file
 * reaches: what lies past its end is zero and is not held.  BYRE_E_LIMIT if
 * what is there takes more than `max_bytes`.  `name` is for messages.
 */
int engine_load_words(struct byre_store *store, const char *name,
                      uint64_t offset, uint64_t entries, uint64_t max_bytes,
                      uint64_t **ret_words, uint64_t *ret_held,
                      struct byre_error *err);

struct l1_table; /* l1.h */

/*
 * Maps a run of L1 entries that have no table: those of `l1` that are 0 under
 * `mask`, and all that it does not hold.  Each stands for `range_bytes`, a
 * power of two; the one of `guest_offset` has none.  Long disks are mostly
 * that.
 */
void engine_map_gap(const struct l1_table *l1, uint64_t mask,
                    uint64_t range_bytes, uint64_t guest_offset,
                    uint64_t length, struct mapping *ret);

#endif
