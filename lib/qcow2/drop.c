/* SPDX-License-Identifier: MIT */
/*
 * Giving up what the disk has: clusters with their tables, the free end of the
 * file, and all of the disk at once.  The caller is alone.
 *
 * A table goes before what it points to is released: so a failure in between
 * costs space, and releases nothing that is still in use.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/internal.h"
#include "qcow2/rebuild.h"

static uint64_t cluster_bytes(const struct qcow2 *qcow2)
{
    return engine_cluster_bytes(&qcow2->engine);
}

/* ---- Entries ---- */

/* What points to them is gone: what goes wrong but for lies loses space only.
 */
static int release_all(struct qcow2 *qcow2, const struct raw_entry *entries,
                       uint32_t count, struct byre_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        const int r =
            qcow2_release_entry(qcow2, entries[i], ALLOCATOR_PUNCH, err);

        if (r == BYRE_E_CORRUPT)
            return r;
    }
    return BYRE_OK;
}

/* Drops the entries of [offset, offset + length), whole clusters of a slice. */
static int drop_entries(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                        struct byre_error *err)
{
    struct raw_entry old[QCOW2_MOST_ENTRIES], none[QCOW2_MOST_ENTRIES];
    bool any = false;
    uint32_t count;
    int r;

    r = qcow2_entries_read(qcow2, offset, length, old, &count, err);
    if (r < 0)
        return r;

    memset(none, 0, sizeof(none));
    for (uint32_t i = 0; i < count; i++)
        any = any || old[i].word != 0 || old[i].bitmap != 0;
    if (!any)
        return BYRE_OK;

    r = qcow2_make_table(qcow2, offset, err);
    if (r == BYRE_OK)
        r = qcow2_entries_write(qcow2, offset, none, count, err);
    return r < 0 ? r : release_all(qcow2, old, count, err);
}

/* ---- Tables ---- */

static int read_table(struct qcow2 *qcow2, uint64_t offset,
                      struct raw_entry *ret_entries, uint32_t *ret_count,
                      struct byre_error *err)
{
    const uint64_t slice = qcow2_slice_range_bytes(qcow2);
    const uint64_t end = offset + qcow2_l1_range_bytes(qcow2);
    uint32_t count = 0;
    int r = BYRE_OK;

    for (uint64_t at = offset; at < end && r == BYRE_OK; at += slice) {
        uint32_t n = 0;

        r = qcow2_entries_read(qcow2, at, slice, ret_entries + count, &n, err);
        count += n;
    }
    *ret_count = count;
    return r;
}

static int drop_l1_entry(struct qcow2 *qcow2, uint64_t index,
                         struct byre_error *err)
{
    const uint64_t offset = l1_get(&qcow2->l1, index) & QCOW2_ENTRY_OFFSET_MASK;
    int r;

    r = l1_set(&qcow2->l1, index, 0, err);
    if (r < 0)
        return r;
    table_cache_forget(qcow2->tables, offset, cluster_bytes(qcow2));
    metadata_remove(&qcow2->metadata, offset, cluster_bytes(qcow2), NULL);
    allocator_release(qcow2->allocator, offset, cluster_bytes(qcow2),
                      ALLOCATOR_PUNCH, NULL);
    return BYRE_OK;
}

/* All that one L1 entry stands for. */
static int drop_table(struct qcow2 *qcow2, uint64_t offset,
                      struct byre_error *err)
{
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    const size_t bytes =
        ((size_t)1 << qcow2->l2_bits) * sizeof(struct raw_entry);
    struct raw_entry *entries = malloc(bytes);
    uint32_t count = 0;
    int r;

    if (entries == NULL)
        return fail_nomem(err, "an L2 table", bytes);

    r = read_table(qcow2, offset, entries, &count, err);
    if (r == BYRE_OK)
        r = drop_l1_entry(qcow2, offset / range, err);
    if (r == BYRE_OK)
        r = release_all(qcow2, entries, count, err);
    free(entries);
    return r;
}

/* What one L1 entry stands for, from `offset` on. */
static int drop_range(struct qcow2 *qcow2, uint64_t offset, uint64_t end,
                      struct byre_error *err)
{
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    const uint64_t slice = qcow2_slice_range_bytes(qcow2);
    int r = BYRE_OK;

    if (offset % range == 0 && end - offset == range)
        return drop_table(qcow2, offset, err);
    for (uint64_t at = offset; at < end && r == BYRE_OK;) {
        const uint64_t n = min_u64(end - at, slice - at % slice);

        r = drop_entries(qcow2, at, n, err);
        at += n;
    }
    return r;
}

/* All clusters from `offset`, a multiple of the cluster size, to `end`. */
int qcow2_drop_clusters(struct qcow2 *qcow2, uint64_t offset, uint64_t end,
                        struct byre_error *err)
{
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    int r = BYRE_OK;

    while (offset < end && r == BYRE_OK) {
        const uint64_t next = min_u64(end, align_down(offset, range) + range);

        /* An entry of flags alone names no table. */
        if ((l1_get(&qcow2->l1, offset / range) & QCOW2_ENTRY_OFFSET_MASK) != 0)
            r = drop_range(qcow2, offset, next, err);
        offset = next;
    }
    return r;
}

/* ---- The end of the file ---- */

/* The end of the last cluster that counts say is in use. */
static int used_end(struct qcow2 *qcow2, uint64_t file_bytes, uint64_t *ret_end,
                    struct byre_error *err)
{
    uint64_t clusters = div_round_up(file_bytes, cluster_bytes(qcow2));

    while (clusters > 0) {
        uint64_t count;
        int r;

        r = allocator_get(qcow2->allocator,
                          (clusters - 1) * cluster_bytes(qcow2), &count, err);
        if (r < 0)
            return r;
        if (count > 0)
            break;
        clusters--;
    }
    /* A structure stays, even where its count is a lie. */
    *ret_end = max_u64(clusters * cluster_bytes(qcow2),
                       metadata_end(&qcow2->metadata));
    return BYRE_OK;
}

/* What is free at the end of the file goes, when it is durably free. */
int qcow2_cut_file(struct qcow2 *qcow2, struct byre_error *err)
{
    uint64_t file_bytes = 0, end = 0;
    int r;

    if (qcow2->store->identity.is_device)
        return BYRE_OK;

    r = qcow2_settle(qcow2, err);
    if (r == BYRE_OK)
        r = store_get_size(qcow2->store, &file_bytes, err);
    if (r == BYRE_OK)
        r = used_end(qcow2, file_bytes, &end, err);
    if (r < 0 || end >= file_bytes)
        return r;
    return store_resize(qcow2->store, end, err);
}

/* ---- Refcounts of an empty disk ---- */

#define REBUILD_BYTES (UINT64_C(64) << 20)

/* Clusters that a file needs with nothing on its disk, and some room. */
static uint64_t enough_clusters(const struct qcow2 *qcow2)
{
    const uint64_t l1_bytes = UINT64_C(8) * qcow2->header.l1_entries;

    return 8 + 2 * div_round_up(l1_bytes + qcow2->crypto.length,
                                cluster_bytes(qcow2));
}

/* Refcount blocks lie next to what they count, and keep the file long. */
static bool is_worth_it(struct qcow2 *qcow2)
{
    const uint64_t end = metadata_end(&qcow2->metadata);

    return !qcow2->store->identity.is_device &&
           qcow2->header.snapshot_count == 0 && !qcow2->has_bitmaps &&
           end > enough_clusters(qcow2) * cluster_bytes(qcow2);
}

/*
 * The image is as good as closed while its refcounts are made anew.  One that
 * cannot be opened for writing again stays open for reading.
 */
static int lower_refcounts(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct write_options options = {
        .backing = qcow2->writer.backing,
        .refcount_cache_bytes = qcow2->refcount_cache_bytes,
        .keep_space = qcow2->keep_space,
        .keep_clusters = qcow2->keep_clusters,
    };
    const struct rebuild_options rebuild = {
        .refcount_order = qcow2->header.refcount_order,
        .budget_bytes = REBUILD_BYTES,
        .low = true,
    };
    int r;

    if (!is_worth_it(qcow2))
        return BYRE_OK;
    r = qcow2_end_write(&qcow2->engine, err);
    if (r == BYRE_OK)
        r = qcow2_rebuild_as(qcow2, &rebuild, err);
    if (r < 0 && r != BYRE_E_LIMIT)
        return r;
    return qcow2_prepare_write(&qcow2->engine, &options, err);
}

/* ---- All of the disk ---- */

/* Tables between two flushes, which bounds what waits to be freed. */
#define TABLES_PER_FLUSH 64

/*
 * Table by table: the disk reads the same at each step, since what it stands on
 * holds the same.
 */
int qcow2_empty(struct engine *engine, const struct engine_progress *progress,
                struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    const uint64_t tables =
        min_u64(qcow2->l1.held, div_round_up(engine->size_bytes, range));
    int r;

    r = writer_flush(&qcow2->writer, err);
    for (uint64_t i = 0; i < tables && r == BYRE_OK; i += TABLES_PER_FLUSH) {
        const uint64_t end = min_u64(i + TABLES_PER_FLUSH, tables);

        r = qcow2_drop_clusters(qcow2, i * range, end * range, err);
        if (r == BYRE_OK)
            r = writer_flush(&qcow2->writer, err);
        if (r == BYRE_OK && progress != NULL)
            r = progress->advance(progress->user, end, tables, err);
    }
    if (r == BYRE_OK && engine->needs_data_file && !qcow2->keep_space)
        r = store_discard(qcow2->data_store, 0, engine->size_bytes, err);
    if (r == BYRE_OK)
        r = qcow2_write_all(qcow2, err);
    if (r == BYRE_OK)
        r = lower_refcounts(qcow2, err);
    return r < 0 ? r : qcow2_cut_file(qcow2, err);
}
