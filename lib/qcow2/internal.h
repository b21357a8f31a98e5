/* SPDX-License-Identifier: MIT */
/*
 * What the files of the QCOW2 engine share.  Everything but the lazily loaded
 * lists is set once, before the first data call, and only read afterwards.
 */
#ifndef BYRE_QCOW2_INTERNAL_H
#define BYRE_QCOW2_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/l1.h"
#include "engine/table_cache.h"
#include "engine/transfer.h"
#include "engine/writer.h"
#include "format/bitmap.h"
#include "format/extensions.h"
#include "format/header.h"
#include "format/snapshot.h"
#include "qcow2/bitmap_set.h"
#include "qcow2/metadata.h"

struct luks_texts;

/* The snapshot table, decoded. */
struct snapshot_list {
    uint8_t *raw; /* what the entries below point into */
    struct qcow2_snapshot *entries;
    struct byre_snapshot *public_entries;
    char *texts; /* ids and names, terminated */
    size_t count;
    uint64_t table_bytes; /* of the whole table in the file */
};

struct qcow2 {
    struct engine engine; /* first, so that the two convert */
    struct byre_store *store;
    struct byre_store *data_store; /* where clusters live; often `store` */
    struct engine_limits limits;
    bool to_check; /* see qcow2_open_to_check() */
    struct qcow2_header header;
    bool has_crypto;
    struct qcow2_crypto_extension crypto;
    bool has_bitmaps;
    bool bitmaps_damaged; /* the extension is; only listing them fails */
    char bitmaps_damage[BYRE_ERROR_MESSAGE_SIZE];
    bool bitmaps_are_stale; /* an extension that nothing vouches for */
    struct qcow2_bitmaps_extension bitmaps_extension;

    /* Derived from the header. */
    struct l2_format l2_format;
    uint32_t entry_words; /* 1, or 2 with extended L2 entries */
    uint32_t l2_bits;     /* log2 of the entries of an L2 table */
    uint32_t slice_bits;  /* log2 of the entries of a slice of one */

    /* The disk that was prepared. */
    struct l1_table l1;
    struct table_cache *tables;
    struct transfer transfer;
    atomic_int sparse; /* SPARSE_* */

    pthread_mutex_t lists_lock;
    bool snapshots_loaded;
    struct snapshot_list snapshots;
    bool bitmaps_loaded;
    struct bitmap_set bitmaps;
    struct luks_texts *luks_texts; /* luks.c; NULL: not loaded */

    /* Of a disk that is open for writing (writable.c). */
    bool has_writer; /* the following is set up, or begun */
    struct writer writer;
    struct metadata metadata;
    struct allocator *allocator;
    bool keep_space;
    bool keep_clusters;
    uint64_t refcount_cache_bytes; /* at most held of refcounts */
    /* Where the last cluster that may hold something ends. */
    atomic_uint_fast64_t file_end_bytes;
    pthread_mutex_t header_lock; /* of marking the image corrupt */
};

struct allocator;

enum { SPARSE_UNKNOWN, SPARSE_NO, SPARSE_YES };

static inline struct qcow2 *qcow2_of(struct engine *engine)
{
    return (struct qcow2 *)engine;
}

/* open.c: loads all of the active L1 table, for writing. */
int qcow2_reload_l1(struct qcow2 *qcow2, struct byre_error *err);
/* The same file: an empty cache of its L2 tables. */
int qcow2_make_table_cache(struct qcow2 *qcow2, struct table_cache **ret_cache,
                           struct byre_error *err);

/* map.c, read.c, sparse.c */
int qcow2_map(struct engine *engine, uint64_t guest_offset, uint64_t length,
              struct mapping *ret, struct byre_error *err);
int qcow2_read(struct engine *engine, const struct mapping *mapping,
               uint64_t guest_offset, void *buf, size_t length,
               struct byre_error *err);
int qcow2_find_loss(struct engine *engine, uint64_t guest_offset,
                    uint64_t length, uint64_t *ret_length,
                    struct byre_error *err);
bool qcow2_may_have_holes(struct engine *engine);

/* Bytes of the disk that one L1 entry stands for. */
static inline uint64_t qcow2_l1_range_bytes(const struct qcow2 *qcow2)
{
    return UINT64_C(1) << (qcow2->header.cluster_bits + qcow2->l2_bits);
}

/* Where a guest offset's entry is: which slice of which table, and where in it.
 */
struct slice_place {
    uint64_t host_offset; /* of the slice */
    uint32_t index;       /* of the entry in it */
};

struct slice_place qcow2_slice_place(const struct qcow2 *qcow2,
                                     uint64_t l2_offset, uint64_t guest_offset);

/* Bytes of the disk that one slice of an L2 table stands for. */
static inline uint64_t qcow2_slice_range_bytes(const struct qcow2 *qcow2)
{
    return UINT64_C(1) << (qcow2->header.cluster_bits + qcow2->slice_bits);
}

/* One cluster's entry, as its words are in the table. */
struct raw_entry {
    uint64_t word;
    uint64_t bitmap; /* 0 without subclusters */
};

/* What one cluster is from its subcluster on that holds a guest offset. */
struct piece {
    enum l2_kind kind;
    bool copied;          /* its host cluster is this entry's alone */
    uint64_t host_offset; /* of the guest offset */
    uint64_t bytes;       /* for which this holds within the cluster */
    uint32_t compressed_bytes;
};

/* The only code that decodes an L2 entry. */
struct piece qcow2_decode_piece(const struct qcow2 *qcow2, struct raw_entry raw,
                                uint64_t guest_offset);

/* luks.c */
int qcow2_luks_info(struct engine *engine, struct byre_luks_info *info,
                    struct byre_error *err);
int qcow2_unlock(struct engine *engine, const void *passphrase,
                 size_t passphrase_bytes, struct byre_error *err);

/* snapshots.c */
int qcow2_snapshots(struct engine *engine, const struct byre_snapshot **ret,
                    size_t *ret_count, struct byre_error *err);
/* Its place in the list; `skipped`, a flag for each, or NULL: none is. */
int qcow2_find_snapshot(struct qcow2 *qcow2,
                        const struct snapshot_selector *selector,
                        const bool *skipped, size_t *ret_index,
                        struct byre_error *err);
void qcow2_snapshots_free(struct snapshot_list *list);
/* Makes a list of a table in memory, which it takes over, also on failure. */
int qcow2_snapshots_decode(struct qcow2 *qcow2, uint8_t *raw, size_t length,
                           size_t count, struct snapshot_list *ret_list,
                           struct byre_error *err);
/* Takes over the list, in the place of the one there is. */
void qcow2_snapshots_install(struct qcow2 *qcow2, struct snapshot_list *list);

/* snapshot_create.c, snapshot_apply.c, snapshot_delete.c */
int qcow2_snapshot_create(struct engine *engine,
                          const struct byre_snapshot_options *opts,
                          struct byre_error *err);
int qcow2_snapshot_apply(struct engine *engine,
                         const struct byre_snapshot_ref *ref,
                         struct byre_error *err);
int qcow2_snapshot_delete(struct engine *engine,
                          const struct byre_snapshot_ref *refs, size_t count,
                          struct byre_error *err);

/* vm_state.c */
int qcow2_vm_state_read(struct engine *engine, uint64_t offset, void *buf,
                        size_t length, struct byre_error *err);
int qcow2_vm_state_write(struct engine *engine, uint64_t offset,
                         const void *buf, size_t length,
                         struct byre_error *err);
int qcow2_vm_state_reserve(struct engine *engine, uint64_t bytes,
                           struct byre_error *err);
/* Where it begins among guest offsets: the first L1 entry behind the disk. */
uint64_t qcow2_vm_state_start(const struct qcow2 *qcow2);

/* bitmap_ops.c */
extern const struct bitmap_ops qcow2_bitmap_ops;
int qcow2_bitmaps(struct engine *engine, const struct byre_bitmap **ret,
                  size_t *ret_count, struct byre_error *err);

/* bitmap_write.c: bitmaps of a disk that is open for writing */
/* Loads all; with `may_give_up` those of a damaged directory are dropped. */
int qcow2_bitmaps_open(struct qcow2 *qcow2, bool may_give_up,
                       struct byre_error *err);
/* What comes of a failure `r` of theirs: `r`, or BYRE_OK without bitmaps. */
int qcow2_bitmaps_give_up(struct qcow2 *qcow2, bool allowed, int r,
                          struct byre_error *err);
/* Marks them in use in the file, durably; before anything else changes. */
int qcow2_bitmaps_mark(struct qcow2 *qcow2, struct byre_error *err);
void qcow2_bitmaps_forget(struct qcow2 *qcow2);
/* The range is about to change.  Any number of threads inside the gate. */
int qcow2_bitmaps_note_range(struct qcow2 *qcow2, uint64_t offset,
                             uint64_t length, struct byre_error *err);
static inline int qcow2_bitmaps_note(struct qcow2 *qcow2, uint64_t offset,
                                     uint64_t length, struct byre_error *err)
{
    if (qcow2->bitmaps.noting == 0)
        return BYRE_OK;
    return qcow2_bitmaps_note_range(qcow2, offset, length, err);
}
/* All of the disk has changed.  With the gate closed, as the following. */
void qcow2_bitmaps_mark_all(struct qcow2 *qcow2);
/* Whether the disk may have that size. */
int qcow2_bitmaps_check_size(const struct qcow2 *qcow2, uint64_t size_bytes,
                             struct byre_error *err);
/* The disk has another size: engine.size_bytes. */
int qcow2_bitmaps_resize(struct qcow2 *qcow2, struct byre_error *err);

/* bitmap_stale.c: an extension that no autoclear bit vouches for goes. */
int qcow2_bitmaps_drop_stale(struct qcow2 *qcow2, struct byre_error *err);

/* bitmap_store.c: writes them to the file, durably; in use or not. */
int qcow2_bitmaps_write(struct qcow2 *qcow2, bool in_use,
                        struct byre_error *err);

/* writable.c */
extern const struct writer_ops qcow2_writer_ops;
int qcow2_prepare_write(struct engine *engine,
                        const struct write_options *options,
                        struct byre_error *err);
int qcow2_write(struct engine *engine, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err);
int qcow2_flush(struct engine *engine, struct byre_error *err);
/* Flushes until all that was released is free. */
int qcow2_settle(struct qcow2 *qcow2, struct byre_error *err);
/* Writes all there is, bitmaps too, which stay in use: more may follow. */
int qcow2_write_all(struct qcow2 *qcow2, struct byre_error *err);
/* The same when nothing follows. */
int qcow2_finish(struct engine *engine, struct byre_error *err);
int qcow2_end_write(struct engine *engine, struct byre_error *err);
void qcow2_set_backing(struct engine *engine,
                       const struct engine_backing *backing);
/*
 * Forgets all that is held of the tables, and loads it again: they were changed
 * past the caches, which have nothing unwritten.  The caller is alone; after a
 * failure nothing may be written any more, which writer_stick() is for.
 */
int qcow2_reload_structures(struct qcow2 *qcow2, struct byre_error *err);
/* Raises file_end_bytes to `end`. */
void qcow2_raise_file_end(struct qcow2 *qcow2, uint64_t end);
void qcow2_writable_done(struct qcow2 *qcow2);
/* Marks the image corrupt, if `r` says that its tables lie; returns `r`. */
int qcow2_mark_corrupt(struct qcow2 *qcow2, int r, struct byre_error *err);

/* entries.c: L2 entries as the write path changes them. */
#define QCOW2_MOST_ENTRIES (TABLE_SLICE_MAX_BYTES / 8)
/*
 * Reads the entries of the clusters that [guest_offset, + length) touches, all
 * in one slice; all zero where there is no table.
 */
int qcow2_entries_read(struct qcow2 *qcow2, uint64_t guest_offset,
                       uint64_t length, struct raw_entry *ret,
                       uint32_t *ret_count, struct byre_error *err);
/* Changes them; there is a table, and it is the active disk's alone. */
int qcow2_entries_write(struct qcow2 *qcow2, uint64_t guest_offset,
                        const struct raw_entry *entries, uint32_t count,
                        struct byre_error *err);
/* Whether the L2 table of an offset is there, and the active disk's alone. */
bool qcow2_has_table(const struct qcow2 *qcow2, uint64_t guest_offset);
/* Sees to it that this is so. */
int qcow2_make_table(struct qcow2 *qcow2, uint64_t guest_offset,
                     struct byre_error *err);
/* Notes that an entry is gone: its cluster or stream loses a reference. */
int qcow2_release_entry(struct qcow2 *qcow2, struct raw_entry raw,
                        unsigned flags, struct byre_error *err);

/* plan.c */
int qcow2_plan(struct engine *engine, struct write_plan *plan,
               struct byre_error *err);
int qcow2_allocate(struct engine *engine, struct write_plan *plan,
                   struct byre_error *err);
int qcow2_link(struct engine *engine, const struct write_plan *plan,
               struct byre_error *err);
void qcow2_give_back(struct engine *engine, const struct write_plan *plan);
int qcow2_allocate_stream(struct engine *engine, struct write_plan *plan,
                          uint32_t bytes, struct byre_error *err);
int qcow2_link_stream(struct engine *engine, const struct write_plan *plan,
                      uint32_t bytes, struct byre_error *err);
void qcow2_give_back_stream(struct engine *engine,
                            const struct write_plan *plan, uint32_t bytes);

/* check.c */
int qcow2_check(struct engine *engine, uint32_t repair, uint64_t memory_bytes,
                const struct check_sink *sink, struct byre_check_result *ret,
                struct byre_error *err);
int qcow2_mark_sound(struct engine *engine, struct byre_error *err);

/* zero.c */
int qcow2_zero(struct engine *engine, uint64_t offset, uint64_t length,
               uint32_t flags, struct byre_error *err);
/* The same, but bitmaps do not hear of it. */
int qcow2_make_zero(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                    uint32_t flags, struct byre_error *err);
int qcow2_discard(struct engine *engine, uint64_t offset, uint64_t length,
                  struct byre_error *err);
/* The entry of a whole cluster that is zero and holds nothing; in version 2 one
   that is unallocated. */
struct raw_entry qcow2_zero_entry(const struct qcow2 *qcow2);

/* compact.c */
int qcow2_compact(struct engine *engine, const struct engine_progress *progress,
                  struct byre_compact_result *ret, struct byre_error *err);

/* backing.c */
int qcow2_set_backing_name(struct engine *engine, const char *name,
                           const char *format, struct byre_error *err);

/* drop.c */
/* Drops all clusters of [offset, end), whole clusters, with the gate closed. */
int qcow2_drop_clusters(struct qcow2 *qcow2, uint64_t offset, uint64_t end,
                        struct byre_error *err);
/* Flushes until nothing is left to be freed, and cuts what is free at the end
   of the file. */
int qcow2_cut_file(struct qcow2 *qcow2, struct byre_error *err);
int qcow2_empty(struct engine *engine, const struct engine_progress *progress,
                struct byre_error *err);

/* resize.c */
/* Makes the active L1 table one of `entries` at least; the caller is alone. */
int qcow2_grow_l1(struct qcow2 *qcow2, uint64_t entries,
                  struct byre_error *err);
int qcow2_resize(struct engine *engine, uint64_t size_bytes,
                 uint32_t preallocation, struct byre_error *err);
/* Whether the image, as one of `version`, may have a disk of that size. */
int qcow2_check_resize(const struct qcow2 *qcow2, uint32_t version,
                       uint64_t size_bytes, struct byre_error *err);

/* amend.c */
int qcow2_amend(struct engine *engine, const struct byre_amend_options *opts,
                const struct engine_progress *progress, struct byre_error *err);

/* luks_keys.c */
int qcow2_key_add(struct engine *engine, uint32_t slot, const void *passphrase,
                  size_t passphrase_bytes, uint64_t iter_time_msec,
                  uint32_t flags, struct byre_error *err);
int qcow2_key_erase(struct engine *engine, uint32_t slot, uint32_t flags,
                    struct byre_error *err);
int qcow2_key_erase_passphrase(struct engine *engine, const void *passphrase,
                               size_t passphrase_bytes, uint32_t flags,
                               struct byre_error *err);

#endif
