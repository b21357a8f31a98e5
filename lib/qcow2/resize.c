/* SPDX-License-Identifier: MIT */
/*
 * Another size of the disk.  The caller is alone.
 *
 * Growing: a new L1 table where the old one is too short, written and switched
 * to by one write of the header; then what the new part must read as, zeroes or
 * reserved space; and when all of that is durable, the size.
 *
 * Shrinking: the size first; only when it is durable, what lies behind it goes.
 * A crash in between leaves entries behind the end, which are no part of the
 * disk; growing clears them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/header_write.h"
#include "qcow2/internal.h"
#include "qcow2/preallocate.h"
#include "qcow2/tree_counts.h"

static uint64_t cluster_bytes(const struct qcow2 *qcow2)
{
    return engine_cluster_bytes(&qcow2->engine);
}

/* ---- The header ---- */

static int switch_header(struct qcow2 *qcow2, uint64_t size_bytes,
                         uint64_t l1_offset, uint32_t l1_entries,
                         struct byre_error *err)
{
    struct byre_error why = { 0 };
    int r;

    r = header_write_disk(qcow2, size_bytes, l1_offset, l1_entries, &why);
    return header_write_settle(qcow2, r, &why, err);
}

/* ---- The L1 table ---- */

/* More may be held than the table has, of a try to grow that failed. */
static int write_new_l1(struct qcow2 *qcow2, const struct host_run *run,
                        uint32_t entries, struct byre_error *err)
{
    const uint64_t held = min_u64(qcow2->l1.held, entries);
    const size_t length = (size_t)(run->clusters * cluster_bytes(qcow2));
    uint8_t *buf = calloc(1, length);
    int r;

    if (buf == NULL)
        return fail_nomem(err, "an L1 table", length);

    for (uint64_t i = 0; i < held; i++)
        be64_put(buf + i * 8, l1_get(&qcow2->l1, i));
    r = store_write(qcow2->store, run->offset, buf, length, err);
    free(buf);
    if (r < 0)
        error_prefix(err, "L1 table");
    return r;
}

static int switch_l1(struct qcow2 *qcow2, const struct host_run *run,
                     uint32_t entries, struct byre_error *err)
{
    const uint64_t old_offset = qcow2->header.l1_offset;
    const uint64_t old_bytes =
        align_up(UINT64_C(8) * qcow2->header.l1_entries, cluster_bytes(qcow2));
    int r;

    r = write_new_l1(qcow2, run, entries, err);
    if (r == BYRE_OK)
        r = writer_flush(&qcow2->writer, err); /* the counts of it too */
    if (r == BYRE_OK)
        r = metadata_add(&qcow2->metadata, METADATA_L1, run->offset,
                         UINT64_C(8) * entries, cluster_bytes(qcow2), err);
    if (r < 0) {
        allocator_give_back(qcow2->allocator, run->offset,
                            run->clusters * cluster_bytes(qcow2), NULL);
        return r;
    }

    /* If that fails the header may point to the new table, which stays. */
    r = switch_header(qcow2, qcow2->header.size_bytes, run->offset, entries,
                      err);
    if (r < 0)
        return r;

    qcow2->l1.offset = run->offset;
    if (old_bytes == 0)
        return BYRE_OK;
    metadata_remove(&qcow2->metadata, old_offset, old_bytes, NULL);
    allocator_release(qcow2->allocator, old_offset, old_bytes, 0, NULL);
    return BYRE_OK;
}

int qcow2_grow_l1(struct qcow2 *qcow2, uint64_t entries, struct byre_error *err)
{
    const uint64_t clusters = div_round_up(entries * 8, cluster_bytes(qcow2));
    struct host_run run;
    int r;

    if (entries <= qcow2->header.l1_entries)
        return BYRE_OK;

    r = writer_flush(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = l1_grow(&qcow2->l1, entries, err);
    if (r == BYRE_OK)
        r = allocator_take_all(qcow2->allocator, clusters, &run, err);
    if (r < 0)
        return r;

    qcow2_raise_file_end(qcow2,
                         run.offset + run.clusters * cluster_bytes(qcow2));
    return switch_l1(qcow2, &run, (uint32_t)entries, err);
}

/* ---- What lies behind the end ---- */

/* The end of what L1 entries in memory stand for. */
static uint64_t l1_end(const struct qcow2 *qcow2)
{
    return qcow2->l1.held * qcow2_l1_range_bytes(qcow2);
}

/* The rest of the last cluster must not show up when the disk grows again. */
static int zero_tail(struct qcow2 *qcow2, uint64_t size_bytes,
                     struct byre_error *err)
{
    const uint64_t end = align_up(size_bytes, cluster_bytes(qcow2));
    const uint64_t seen = qcow2->engine.size_bytes;
    int r;

    if (end == size_bytes || end > l1_end(qcow2))
        return BYRE_OK;

    qcow2->engine.size_bytes = end;
    r = writer_write_zeroes(&qcow2->writer, size_bytes, end - size_bytes, 0,
                            err);
    qcow2->engine.size_bytes = seen;
    return r;
}

/* ---- Growing ---- */

/*
 * A backing file that is longer than the disk was must not show through; where
 * there is none, or it is zero, nothing needs to be covered.
 */
static int cover_backing(struct qcow2 *qcow2, uint64_t old_bytes,
                         struct byre_error *err)
{
    const uint64_t cluster = cluster_bytes(qcow2);
    const uint64_t end = qcow2->engine.size_bytes;
    uint64_t at = align_up(old_bytes, cluster);
    int r = BYRE_OK;

    if (qcow2->writer.backing.read == NULL)
        return BYRE_OK;

    while (at < end && r == BYRE_OK) {
        uint64_t n = 0;
        bool zero;

        r = writer_is_zero(&qcow2->writer, at, end - at, &zero, &n, err);
        if (r == BYRE_OK && !zero) {
            n = min_u64(align_up(at + n, cluster), end) - at;
            r = qcow2_make_zero(qcow2, align_down(at, cluster),
                                n + at % cluster, 0, err);
        }
        at += n;
    }
    return r;
}

/* What the data file holds behind the old end is no part of the disk. */
static int grow_data_file(struct qcow2 *qcow2, uint64_t old_bytes,
                          struct byre_error *err)
{
    struct byre_store *store = qcow2->data_store;
    const uint64_t end = qcow2->engine.size_bytes;
    uint64_t data_bytes;
    int r;

    if (!qcow2->engine.needs_data_file)
        return BYRE_OK;

    r = store_get_size(store, &data_bytes, err);
    if (r == BYRE_OK && data_bytes > old_bytes)
        r = store_zero(store, old_bytes, min_u64(data_bytes, end) - old_bytes,
                       BYRE_STORE_MAY_UNMAP, err);
    return r < 0 ? r : store_resize(store, end, err);
}

static int fill_new_part(struct qcow2 *qcow2, uint64_t old_bytes,
                         uint32_t preallocation, struct byre_error *err)
{
    const uint64_t from = align_up(old_bytes, cluster_bytes(qcow2));
    const uint64_t end =
        align_up(qcow2->engine.size_bytes, cluster_bytes(qcow2));
    const bool raw =
        (qcow2->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0;
    int r;

    r = qcow2_drop_clusters(qcow2, from, end, err);
    if (r == BYRE_OK)
        r = grow_data_file(qcow2, old_bytes, err);
    if (r == BYRE_OK)
        r = zero_tail(qcow2, old_bytes, err);
    if (r == BYRE_OK)
        r = cover_backing(qcow2, old_bytes, err);
    if (r == BYRE_OK && raw && preallocation == BYRE_PREALLOCATION_OFF)
        preallocation = BYRE_PREALLOCATION_METADATA;
    if (r == BYRE_OK && preallocation != BYRE_PREALLOCATION_OFF && from < end)
        r = qcow2_preallocate(qcow2, from, end - from, preallocation, err);
    if (r == BYRE_OK)
        r = writer_flush(&qcow2->writer, err);
    return r;
}

static int set_size(struct qcow2 *qcow2, uint64_t size_bytes,
                    struct byre_error *err)
{
    return switch_header(qcow2, size_bytes, qcow2->header.l1_offset,
                         qcow2->header.l1_entries, err);
}

static int grow(struct qcow2 *qcow2, uint64_t size_bytes,
                uint32_t preallocation, struct byre_error *err)
{
    const uint64_t old_bytes = qcow2->engine.size_bytes;
    int r;

    r = qcow2_grow_l1(qcow2,
                      qcow2_l1_entries_needed(&qcow2->header, size_bytes), err);
    if (r < 0)
        return r;

    qcow2->engine.size_bytes = size_bytes;
    r = qcow2_bitmaps_resize(qcow2, err);
    if (r == BYRE_OK)
        r = fill_new_part(qcow2, old_bytes, preallocation, err);
    if (r == BYRE_OK)
        r = set_size(qcow2, size_bytes, err);
    if (r < 0) {
        qcow2->engine.size_bytes = old_bytes;
        qcow2_bitmaps_resize(qcow2, NULL);
    }
    return r;
}

/* ---- Shrinking ---- */

static int shrink(struct qcow2 *qcow2, uint64_t size_bytes,
                  struct byre_error *err)
{
    int r;

    r = writer_flush(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = set_size(qcow2, size_bytes, err);
    if (r < 0)
        return r;

    qcow2->engine.size_bytes = size_bytes;
    r = qcow2_bitmaps_resize(qcow2, err);
    if (r == BYRE_OK)
        r = zero_tail(qcow2, size_bytes, err);
    if (r == BYRE_OK)
        r = qcow2_drop_clusters(qcow2,
                                align_up(size_bytes, cluster_bytes(qcow2)),
                                l1_end(qcow2), err);
    if (r == BYRE_OK && qcow2->engine.needs_data_file)
        r = store_resize(qcow2->data_store, size_bytes, err);
    if (r == BYRE_OK)
        r = qcow2_cut_file(qcow2, err);
    if (r < 0)
        error_prefix(err, "the disk is smaller now, but the space behind it "
                          "could not be freed");
    return r;
}

/* ---- The call ---- */

int qcow2_check_resize(const struct qcow2 *qcow2, uint32_t version,
                       uint64_t size_bytes, struct byre_error *err)
{
    const uint64_t entries =
        qcow2_l1_entries_needed(&qcow2->header, size_bytes);

    if (version < 3 && qcow2->header.snapshot_count > 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Can't resize a v2 image which has snapshots");
    if (entries > QCOW2_MAX_L1_ENTRIES)
        return fail(err, BYRE_E_LIMIT,
                    "a disk of %llu bytes needs %llu L1 entries, more than the "
                    "limit of %u: use a larger cluster size",
                    (unsigned long long)size_bytes, (unsigned long long)entries,
                    QCOW2_MAX_L1_ENTRIES);
    if (entries > qcow2->limits.max_table_bytes / 8)
        return fail(err, BYRE_E_LIMIT,
                    "a disk of %llu bytes needs %llu L1 entries, more than the "
                    "limit of %llu: open the image with larger tables allowed",
                    (unsigned long long)size_bytes, (unsigned long long)entries,
                    (unsigned long long)(qcow2->limits.max_table_bytes / 8));
    return qcow2_bitmaps_check_size(qcow2, size_bytes, err);
}

int qcow2_resize(struct engine *engine, uint64_t size_bytes,
                 uint32_t preallocation, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    r = writer_check(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = qcow2_check_resize(qcow2, qcow2->header.version, size_bytes, err);
    if (r < 0 || size_bytes == engine->size_bytes)
        return r;
    return size_bytes > engine->size_bytes
               ? grow(qcow2, size_bytes, preallocation, err)
               : shrink(qcow2, size_bytes, err);
}
