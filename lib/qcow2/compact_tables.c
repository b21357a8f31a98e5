/* SPDX-License-Identifier: MIT */
/*
 * Tables of several clusters, which need room in a row: L1 tables, the snapshot
 * table, the refcount table.  Only those move that are in the way of the file's
 * end.  The header's pointers change by a write within its sector each, a
 * snapshot's like any entry of a table.
 */
#include "base/arith.h"
#include "base/error.h"
#include "qcow2/compact_parts.h"
#include "qcow2/header_write.h"

/* ---- Room ---- */

static uint64_t table_clusters(const struct compact *c, uint64_t bytes)
{
    return div_round_up(bytes, c->cluster_bytes);
}

/* The first holes in a row that end before `limit`; `limit` if there are none.
 */
static uint64_t find_room(const struct compact *c, uint64_t clusters,
                          uint64_t limit)
{
    uint64_t start = 0, end = 0;

    limit = min_u64(limit, c->clusters);
    while (end < limit && end - start < clusters)
        if (compact_is_hole(c, end++) == false)
            start = end;
    return end - start == clusters ? start : UINT64_MAX;
}

/* Copies a table that is in the way; *ret_to is 0 where it stays. */
static int copy_table(struct compact *c, uint64_t offset, uint64_t bytes,
                      uint64_t *ret_to, struct byre_error *err)
{
    const uint64_t clusters = table_clusters(c, bytes);
    const uint64_t first = offset >> c->cluster_bits;
    uint64_t start;
    int r;

    *ret_to = 0;
    if (bytes == 0 || first + clusters <= c->boundary)
        return BYRE_OK;
    start = find_room(c, clusters, first);
    if (start == UINT64_MAX)
        return BYRE_OK;

    *ret_to = start << c->cluster_bits;
    r = compact_raise(c, *ret_to, clusters * c->cluster_bytes, 1, err);
    for (uint64_t i = 0; i < clusters && r == BYRE_OK; i++) {
        c->used[(start + i) / 8] |= (uint8_t)(1u << (start + i) % 8);
        r = store_read(c->qcow2->store, offset + i * c->cluster_bytes,
                       c->cluster, (size_t)c->cluster_bytes, err);
        if (r == BYRE_OK)
            r = compact_write(c, *ret_to + i * c->cluster_bytes, c->cluster,
                              (size_t)c->cluster_bytes, err);
    }
    if (r == BYRE_OK)
        r = compact_barrier(c, err);
    c->result.moved_clusters += clusters;
    return r;
}

/* ---- Each of them ---- */

static int move_l1(struct compact *c, bool *ret_any, struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    const struct qcow2_header *header = &qcow2->header;
    uint64_t to;
    int r;

    r = copy_table(c, header->l1_offset, UINT64_C(8) * header->l1_entries, &to,
                   err);
    if (r < 0 || to == 0)
        return r;
    *ret_any = true;
    r = header_write_disk(qcow2, header->size_bytes, to, header->l1_entries,
                          err);
    if (r == BYRE_OK)
        qcow2->l1.offset = to;
    return compact_switched(c, r, err);
}

static int move_refcount_table(struct compact *c, bool *ret_any,
                               struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    const struct qcow2_header *header = &qcow2->header;
    uint64_t to;
    int r;

    r = copy_table(c, header->refcount_table_offset,
                   header->refcount_table_clusters * c->cluster_bytes, &to,
                   err);
    if (r < 0 || to == 0)
        return r;
    *ret_any = true;
    r = header_write_refcount_table(
        qcow2, to, (uint32_t)header->refcount_table_clusters, err);
    return compact_switched(c, r, err);
}

static int move_snapshot_table(struct compact *c, bool *ret_any,
                               struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    const struct qcow2_header *header = &qcow2->header;
    uint64_t to;
    int r;

    if (header->snapshot_count == 0)
        return BYRE_OK;
    r = copy_table(c, header->snapshots_offset, qcow2->snapshots.table_bytes,
                   &to, err);
    if (r < 0 || to == 0)
        return r;
    *ret_any = true;
    r = header_write_snapshots(qcow2, to, header->snapshot_count, err);
    return compact_switched(c, r, err);
}

/* An entry starts with the offset of the L1 table. */
static int move_snapshot_l1s(struct compact *c, bool *ret_any,
                             struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    uint64_t place = qcow2->header.snapshots_offset;
    bool any = false;
    int r = BYRE_OK;

    for (size_t i = 0; i < qcow2->snapshots.count && r == BYRE_OK; i++) {
        struct qcow2_snapshot *snapshot = &qcow2->snapshots.entries[i];
        uint64_t to;

        r = copy_table(c, snapshot->l1_offset,
                       UINT64_C(8) * snapshot->l1_entries, &to, err);
        if (r == BYRE_OK && to != 0) {
            any = true;
            r = compact_edit(c, place, &to, 1, err);
            snapshot->l1_offset = to;
        }
        place += qcow2_snapshot_bytes(snapshot);
    }
    *ret_any = *ret_any || any;
    return r == BYRE_OK && any ? compact_barrier(c, err) : r;
}

int compact_move_tables(struct compact *c, bool *ret_any,
                        struct byre_error *err)
{
    bool any = false;
    int r;

    compact_bound(c);
    r = move_l1(c, &any, err);
    if (r == BYRE_OK)
        r = move_refcount_table(c, &any, err);
    if (r == BYRE_OK)
        r = move_snapshot_l1s(c, &any, err);
    if (r == BYRE_OK)
        r = move_snapshot_table(c, &any, err);
    if (r < 0 || !any)
        return r;
    *ret_any = true;
    return compact_settle(c, err);
}
