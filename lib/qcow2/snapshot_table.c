/* SPDX-License-Identifier: MIT */
#include "qcow2/snapshot_table.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/header_write.h"

#define KIND_BIT(kind) (1u << (kind))

static uint64_t cluster_bytes(const struct qcow2 *qcow2)
{
    return engine_cluster_bytes(&qcow2->engine);
}

/* ---- The guard ---- */

static int by_start(const void *left, const void *right)
{
    const struct range *a = left, *b = right;

    return a->start < b->start ? -1 : a->start > b->start;
}

static void add_range(const struct qcow2 *qcow2, struct range *ranges,
                      size_t *count, uint64_t offset, uint64_t bytes,
                      enum metadata_kind kind)
{
    if (bytes > 0)
        ranges[(*count)++] = (struct range){
            offset, align_up(offset + bytes, cluster_bytes(qcow2)), kind
        };
}

/* The image's structures with these snapshots instead of those it has. */
static int derive_guard(struct qcow2 *qcow2, struct snapshot_table *table,
                        struct byre_error *err)
{
    const struct snapshot_list *list = &table->list;
    const size_t bytes = (list->count + 1) * sizeof(struct range);
    struct range *ranges = malloc(bytes);
    size_t count = 0;
    int r;

    if (ranges == NULL)
        return fail_nomem(err, "places of snapshots", bytes);

    for (size_t i = 0; i < list->count; i++)
        add_range(qcow2, ranges, &count, list->entries[i].l1_offset,
                  UINT64_C(8) * list->entries[i].l1_entries,
                  METADATA_SNAPSHOT_L1);
    add_range(qcow2, ranges, &count, table->run.offset,
              table->run.clusters * cluster_bytes(qcow2),
              METADATA_SNAPSHOT_TABLE);
    qsort(ranges, count, sizeof(ranges[0]), by_start);
    r = metadata_derive(&qcow2->metadata,
                        KIND_BIT(METADATA_SNAPSHOT_L1) |
                            KIND_BIT(METADATA_SNAPSHOT_TABLE),
                        ranges, count, &table->guard, err);
    free(ranges);
    return r;
}

/* ---- Preparing ---- */

/* Version 2 may lack the extra data, and unknown data behind it stay. */
static struct qcow2_snapshot as_written(const struct qcow2_snapshot *entry)
{
    struct qcow2_snapshot written = *entry;

    written.extra_bytes =
        (uint32_t)max_u64(entry->extra_bytes, QCOW2_SNAPSHOT_EXTRA_BYTES);
    return written;
}

static int measure(const struct qcow2 *qcow2,
                   const struct qcow2_snapshot *entries, size_t count,
                   uint64_t *ret_bytes, struct byre_error *err)
{
    const uint64_t most =
        min_u64(QCOW2_MAX_SNAPSHOT_TABLE_BYTES, qcow2->limits.max_table_bytes);
    uint64_t bytes = 0;

    if (count > QCOW2_MAX_SNAPSHOTS)
        return fail(err, BYRE_E_LIMIT,
                    "an image has %u snapshots at most; delete some first",
                    QCOW2_MAX_SNAPSHOTS);
    for (size_t i = 0; i < count; i++) {
        const struct qcow2_snapshot written = as_written(&entries[i]);

        bytes += qcow2_snapshot_bytes(&written);
    }
    if (bytes > most)
        return fail(err, BYRE_E_LIMIT,
                    "the snapshot table would take %" PRIu64
                    " bytes, more than the limit of %" PRIu64
                    "; delete snapshots, or use shorter names",
                    bytes, most);
    *ret_bytes = bytes;
    return BYRE_OK;
}

static void encode(const struct qcow2_snapshot *entries, size_t count,
                   uint8_t *raw)
{
    for (size_t i = 0; i < count; i++) {
        const struct qcow2_snapshot written = as_written(&entries[i]);

        qcow2_snapshot_encode(&written, raw);
        raw += qcow2_snapshot_bytes(&written);
    }
}

/* Takes clusters for `raw` and writes it there. */
static int write_table(struct qcow2 *qcow2, const uint8_t *raw,
                       uint64_t clusters, struct host_run *ret_run,
                       struct byre_error *err)
{
    const uint64_t bytes = clusters * cluster_bytes(qcow2);
    struct host_run run;
    int r;

    r = allocator_take_all(qcow2->allocator, clusters, &run, err);
    if (r < 0)
        return qcow2_mark_corrupt(qcow2, r, err);
    *ret_run = run;
    qcow2_raise_file_end(qcow2, run.offset + bytes);
    r = store_write(qcow2->store, run.offset, raw, (size_t)bytes, err);
    if (r < 0)
        error_prefix(err, "snapshot table");
    return r;
}

static int fill(struct qcow2 *qcow2, const struct qcow2_snapshot *entries,
                size_t count, struct snapshot_table *table,
                struct byre_error *err)
{
    uint64_t bytes = 0, clusters;
    uint8_t *raw;
    int r;

    r = measure(qcow2, entries, count, &bytes, err);
    if (r < 0)
        return r;

    clusters = div_round_up(bytes, cluster_bytes(qcow2));
    raw = calloc(1, (size_t)(clusters * cluster_bytes(qcow2)) + 1);
    if (raw == NULL)
        return fail_nomem(err, "the snapshot table", (size_t)bytes);
    encode(entries, count, raw);
    if (clusters > 0)
        r = write_table(qcow2, raw, clusters, &table->run, err);
    if (r < 0) {
        free(raw);
        return r;
    }
    return qcow2_snapshots_decode(qcow2, raw, (size_t)bytes, count,
                                  &table->list, err);
}

int snapshot_table_prepare(struct qcow2 *qcow2,
                           const struct qcow2_snapshot *entries, size_t count,
                           struct snapshot_table *ret_table,
                           struct byre_error *err)
{
    struct snapshot_table table = { 0 };
    int r;

    r = fill(qcow2, entries, count, &table, err);
    if (r == BYRE_OK)
        r = derive_guard(qcow2, &table, err);
    if (r < 0)
        snapshot_table_give_up(qcow2, &table);
    else
        *ret_table = table;
    return r;
}

void snapshot_table_give_up(struct qcow2 *qcow2, struct snapshot_table *table)
{
    if (table->run.clusters > 0)
        allocator_give_back(qcow2->allocator, table->run.offset,
                            table->run.clusters * cluster_bytes(qcow2), NULL);
    qcow2_snapshots_free(&table->list);
    range_set_done(&table->guard);
    *table = (struct snapshot_table){ 0 };
}

/* ---- Switching ---- */

int snapshot_table_switch(struct qcow2 *qcow2, struct snapshot_table *table,
                          struct byre_error *err)
{
    const uint64_t old_offset = qcow2->header.snapshots_offset;
    const uint64_t old_bytes = qcow2->snapshots.table_bytes;
    struct byre_error why = { 0 };
    int r;

    r = header_write_snapshots(qcow2, table->run.offset,
                               (uint32_t)table->list.count, &why);
    r = header_write_settle(qcow2, r, &why, err);
    if (r < 0)
        return r;

    qcow2_snapshots_install(qcow2, &table->list);
    metadata_install(&qcow2->metadata, &table->guard);
    *table = (struct snapshot_table){ 0 };
    if (old_bytes > 0)
        allocator_release(qcow2->allocator, old_offset, old_bytes, 0, NULL);
    return BYRE_OK;
}
