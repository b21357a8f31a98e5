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
#include "engine/table_cache.h"
#include "engine/transfer.h"
#include "format/bitmap.h"
#include "format/extensions.h"
#include "format/header.h"
#include "format/snapshot.h"

struct luks_texts;

/* The snapshot table, decoded. */
struct snapshot_list {
    uint8_t *raw; /* what the entries below point into */
    struct qcow2_snapshot *entries;
    struct byre_snapshot *public_entries;
    char *texts; /* ids and names, terminated */
    size_t count;
};

struct bitmap_list {
    struct byre_bitmap *public_entries;
    char *texts;
    size_t count;
};

struct qcow2 {
    struct engine engine; /* first, so that the two convert */
    struct byre_store *store;
    struct byre_store *data_store; /* where clusters live; often `store` */
    struct engine_limits limits;
    struct qcow2_header header;
    bool has_crypto;
    struct qcow2_crypto_extension crypto;
    bool has_bitmaps;
    bool bitmaps_damaged; /* the extension is; only listing them fails */
    char bitmaps_damage[BYRE_ERROR_MESSAGE_SIZE];
    struct qcow2_bitmaps_extension bitmaps_extension;

    /* Derived from the header. */
    struct l2_format l2_format;
    uint32_t entry_words; /* 1, or 2 with extended L2 entries */
    uint32_t l2_bits;     /* log2 of the entries of an L2 table */
    uint32_t slice_bits;  /* log2 of the entries of a slice of one */

    /* The disk that was prepared. */
    uint64_t *l1;
    uint64_t l1_held; /* entries in `l1`; those beyond are zero */
    struct table_cache *tables;
    struct transfer transfer;
    atomic_int sparse; /* SPARSE_* */

    pthread_mutex_t lists_lock;
    bool snapshots_loaded;
    struct snapshot_list snapshots;
    bool bitmaps_loaded;
    struct bitmap_list bitmaps;
    struct luks_texts *luks_texts; /* luks.c; NULL: not loaded */
};

enum { SPARSE_UNKNOWN, SPARSE_NO, SPARSE_YES };

static inline struct qcow2 *qcow2_of(struct engine *engine)
{
    return (struct qcow2 *)engine;
}

/* map.c, read.c, sparse.c */
int qcow2_map(struct engine *engine, uint64_t guest_offset, uint64_t length,
              struct mapping *ret, struct byre_error *err);
int qcow2_read(struct engine *engine, const struct mapping *mapping,
               uint64_t guest_offset, void *buf, size_t length,
               struct byre_error *err);
bool qcow2_may_have_holes(struct engine *engine);

/* luks.c */
int qcow2_luks_info(struct engine *engine, struct byre_luks_info *info,
                    struct byre_error *err);
int qcow2_unlock(struct engine *engine, const void *passphrase,
                 size_t passphrase_bytes, struct byre_error *err);

/* snapshots.c */
int qcow2_snapshots(struct engine *engine, const struct byre_snapshot **ret,
                    size_t *ret_count, struct byre_error *err);
int qcow2_find_snapshot(struct qcow2 *qcow2,
                        const struct snapshot_selector *selector,
                        const struct qcow2_snapshot **ret_snapshot,
                        struct byre_error *err);
void qcow2_snapshots_free(struct snapshot_list *list);

/* bitmaps.c */
int qcow2_bitmaps(struct engine *engine, const struct byre_bitmap **ret,
                  size_t *ret_count, struct byre_error *err);
void qcow2_bitmaps_free(struct bitmap_list *list);

#endif
