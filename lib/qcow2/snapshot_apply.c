/* SPDX-License-Identifier: MIT */
/*
 * Going back to a snapshot: its tree gets the active disk as one more owner,
 * and the tree of the disk as it was loses it.  In this order, each step
 * durable before the next:
 *
 *   no COPIED flag is set in the snapshot's tables; its tables and clusters
 *   count once more; a copy of its L1 table is written
 *   the header switches to that copy, and to the snapshot's size
 *   what the old tree referred to counts once less
 *
 * All clusters of the new tree are the snapshot's too, so no flag is to be set.
 * A crash leaves leaks.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/copied_flags.h"
#include "qcow2/header_write.h"
#include "qcow2/snapshot_tree.h"
#include "qcow2/tree_counts.h"

/* With less, the size of the disk is not among the extra data. */
#define EXTRA_WITH_SIZE 16

#define KIND_BIT(kind) (1u << (kind))

struct application {
    struct qcow2 *qcow2;
    struct qcow2_snapshot snapshot;
    uint64_t *entries; /* of the new L1 table */
    uint64_t entry_count;
    struct l2_list tables; /* of the new tree */
    struct l2_list gained; /* of these, those the old tree has not */
    struct l2_list lost;   /* those that only the old tree has */
    struct host_run l1_run;
    struct range_set guard;
};

/* ---- What is to be applied ---- */

/* Snapshots that do not record their size have the disk's. */
static int check_sizes(const struct qcow2 *qcow2,
                       const struct qcow2_snapshot *snapshot,
                       struct byre_error *err)
{
    const struct snapshot_list *list = &qcow2->snapshots;

    if (snapshot->size_bytes == qcow2->header.size_bytes)
        return BYRE_OK;
    for (size_t i = 0; i < list->count; i++) {
        if (list->entries[i].extra_bytes < EXTRA_WITH_SIZE)
            return fail(err, BYRE_E_UNSUPPORTED,
                        "the disk would have another size, %" PRIu64
                        " bytes, but its snapshot '%s' does not record that it "
                        "has %" PRIu64 ": delete that one, or copy the "
                        "snapshot to an image of its own",
                        snapshot->size_bytes, list->public_entries[i].name,
                        qcow2->header.size_bytes);
    }
    return qcow2_bitmaps_check_size(
        qcow2, align_down(snapshot->size_bytes, ENGINE_SECTOR_BYTES), err);
}

static int find(struct application *a, const struct byre_snapshot_ref *ref,
                struct byre_error *err)
{
    const struct snapshot_selector selector = { .id_or_name = ref->id_or_name,
                                                .id = ref->id,
                                                .name = ref->name };
    size_t index;
    int r;

    r = qcow2_find_snapshot(a->qcow2, &selector, NULL, &index, err);
    if (r < 0)
        return r;
    a->snapshot = a->qcow2->snapshots.entries[index];
    return check_sizes(a->qcow2, &a->snapshot, err);
}

static int check_entry_count(const struct application *a,
                             struct byre_error *err)
{
    const uint64_t most = a->qcow2->limits.max_table_bytes / 8;

    if (a->entry_count <= most)
        return BYRE_OK;
    return fail(err, BYRE_E_LIMIT,
                "the disk of the snapshot needs %" PRIu64
                " L1 entries, more than the limit of %" PRIu64
                ": open the image with larger tables allowed",
                a->entry_count, most);
}

static int load_l1(struct application *a, struct byre_error *err)
{
    const struct qcow2_snapshot *snapshot = &a->snapshot;
    uint64_t *held_entries = NULL;
    uint64_t held = 0;
    int r;

    r = snapshot_load_l1(a->qcow2, snapshot, &held_entries, &held, err);
    if (r < 0)
        return r;
    a->entry_count = max_u64(
        qcow2_l1_entries_needed(&a->qcow2->header, snapshot->size_bytes),
        snapshot->l1_entries);
    r = check_entry_count(a, err);
    if (r == BYRE_OK) {
        a->entries = calloc((size_t)a->entry_count + 1, 8);
        if (a->entries == NULL)
            r = fail_nomem(err, "an L1 table", (size_t)a->entry_count * 8);
    }
    for (uint64_t i = 0; i < held && r == BYRE_OK; i++)
        a->entries[i] = held_entries[i] & QCOW2_ENTRY_OFFSET_MASK;
    free(held_entries);
    return r;
}

static int list_tables(struct application *a, struct byre_error *err)
{
    int r;

    r = l2_list_add(&a->tables, a->qcow2, a->entries, a->entry_count, false,
                    err);
    if (r < 0)
        return r;
    l2_list_sort(&a->tables);
    r = l2_list_copy(&a->gained, &a->tables, err);
    if (r == BYRE_OK)
        r = l2_list_active(&a->lost, a->qcow2, err);
    if (r < 0)
        return r;
    l2_list_part(&a->gained, &a->lost);
    return tree_counts_check(a->qcow2, &a->gained, err);
}

/* ---- What nothing refers to yet ---- */

static int by_start(const void *left, const void *right)
{
    const struct range *a = left, *b = right;

    return a->start < b->start ? -1 : a->start > b->start;
}

/* The structures when the new tree is the active one. */
static int derive_guard(struct application *a, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&a->qcow2->engine);
    const size_t bytes = (a->tables.count + 1) * sizeof(struct range);
    struct range *ranges = malloc(bytes);
    size_t count = 0;
    int r;

    if (ranges == NULL)
        return fail_nomem(err, "places of tables", bytes);
    for (; count < a->tables.count; count++)
        ranges[count] =
            (struct range){ a->tables.tables[count].offset,
                            a->tables.tables[count].offset + cluster,
                            METADATA_L2 };
    if (a->l1_run.clusters > 0)
        ranges[count++] =
            (struct range){ a->l1_run.offset,
                            a->l1_run.offset + a->l1_run.clusters * cluster,
                            METADATA_L1 };
    qsort(ranges, count, sizeof(ranges[0]), by_start);
    r = metadata_derive(&a->qcow2->metadata,
                        KIND_BIT(METADATA_L1) | KIND_BIT(METADATA_L2), ranges,
                        count, &a->guard, err);
    free(ranges);
    return r;
}

static int prepare(struct application *a, struct byre_error *err)
{
    struct qcow2 *qcow2 = a->qcow2;
    int r;

    r = snapshot_write_l1(qcow2, a->entries, a->entry_count, &a->l1_run, err);
    if (r == BYRE_OK)
        r = derive_guard(a, err);
    if (r == BYRE_OK) {
        r = copied_flags_clear(qcow2, a->tables.tables, a->tables.count, err);
        table_cache_forget_all(qcow2->tables);
    }
    if (r == BYRE_OK)
        r = writer_flush(&qcow2->writer, err);
    return r;
}

/* ---- The switch ---- */

static int switch_disk(struct application *a, struct byre_error *err)
{
    struct qcow2 *qcow2 = a->qcow2;
    struct byre_error why = { 0 };
    int r;

    r = header_write_disk(qcow2, a->snapshot.size_bytes, a->l1_run.offset,
                          (uint32_t)a->entry_count, &why);
    r = header_write_settle(qcow2, r, &why, err);
    if (r < 0)
        return r;

    qcow2->engine.size_bytes =
        align_down(a->snapshot.size_bytes, ENGINE_SECTOR_BYTES);
    l1_replace(&qcow2->l1, a->entries, a->entry_count, a->l1_run.offset);
    a->entries = NULL;
    metadata_install(&qcow2->metadata, &a->guard);
    table_cache_forget_all(qcow2->tables);
    return BYRE_OK;
}

static int raise_and_switch(struct application *a, struct byre_error *err)
{
    int r;

    r = tree_counts_raise(a->qcow2, &a->gained, err);
    if (r < 0)
        return r;
    r = writer_flush(&a->qcow2->writer, err);
    if (r == BYRE_OK)
        r = switch_disk(a, err);
    if (r < 0)
        tree_counts_lower(a->qcow2, &a->gained);
    return r;
}

static int apply(struct application *a, struct byre_error *err)
{
    struct qcow2 *qcow2 = a->qcow2;
    int r;

    r = prepare(a, err);
    if (r == BYRE_OK)
        r = raise_and_switch(a, err);
    if (r < 0 && a->l1_run.clusters > 0)
        allocator_give_back(
            qcow2->allocator, a->l1_run.offset,
            a->l1_run.clusters * engine_cluster_bytes(&qcow2->engine), NULL);
    return r;
}

/* ---- The old tree ---- */

static int release_old(struct application *a, uint64_t l1_offset,
                       uint64_t l1_bytes, struct byre_error *err)
{
    struct qcow2 *qcow2 = a->qcow2;
    int r;

    r = allocator_release(qcow2->allocator, l1_offset, l1_bytes, 0, err);
    if (r == BYRE_OK)
        r = tree_counts_release(qcow2, &a->lost, err);
    if (r == BYRE_OK)
        r = qcow2_settle(qcow2, err);
    if (r < 0)
        error_prefix(err, "the snapshot is applied, but the space of what it "
                          "replaced could not be freed");
    return r;
}

/* ---- The call ---- */

/* In the file they are marked in use, until they are written. */
static int tell_bitmaps(struct qcow2 *qcow2, struct byre_error *err)
{
    const int r = qcow2_bitmaps_resize(qcow2, err);

    qcow2_bitmaps_mark_all(qcow2);
    return r;
}

static void done(struct application *a)
{
    free(a->entries);
    l2_list_done(&a->tables);
    l2_list_done(&a->gained);
    l2_list_done(&a->lost);
    range_set_done(&a->guard);
}

int qcow2_snapshot_apply(struct engine *engine,
                         const struct byre_snapshot_ref *ref,
                         struct byre_error *err)
{
    struct application a = { .qcow2 = qcow2_of(engine) };
    const uint64_t old_offset = a.qcow2->header.l1_offset;
    const uint64_t old_bytes = UINT64_C(8) * a.qcow2->header.l1_entries;
    int r;

    r = snapshot_check_allowed(a.qcow2, err);
    if (r == BYRE_OK)
        r = find(&a, ref, err);
    if (r == BYRE_OK)
        r = writer_flush(&a.qcow2->writer, err);
    if (r == BYRE_OK)
        r = load_l1(&a, err);
    if (r == BYRE_OK)
        r = list_tables(&a, err);
    if (r == BYRE_OK)
        r = apply(&a, err);
    if (r == BYRE_OK)
        r = tell_bitmaps(a.qcow2, err);
    if (r == BYRE_OK)
        r = release_old(&a, old_offset, old_bytes, err);
    done(&a);
    return r;
}
