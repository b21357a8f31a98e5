/* SPDX-License-Identifier: MIT */
/*
 * Deleting snapshots: the header switches to a table without them; when that is
 * durable, what they referred to counts less; when that is durable too, COPIED
 * flags of the active tree are set where nobody shares any more.  A crash
 * leaves leaks and missing flags.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "qcow2/snapshot_table.h"
#include "qcow2/snapshot_tree.h"
#include "qcow2/tree_counts.h"

/* The L2 tables of so many references are gathered before they are walked. */
#define MOST_GATHERED (UINT32_C(1) << 22)

struct deletion {
    struct qcow2 *qcow2;
    bool *chosen; /* a flag for each snapshot of the list */
    struct qcow2_snapshot *gone;
    size_t gone_count;
    struct snapshot_table table;
};

/* ---- Which ---- */

static int choose(struct deletion *d, const struct byre_snapshot_ref *refs,
                  size_t count, struct byre_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct snapshot_selector selector = { .id_or_name =
                                                        refs[i].id_or_name,
                                                    .id = refs[i].id,
                                                    .name = refs[i].name };
        size_t index;
        int r;

        r = qcow2_find_snapshot(d->qcow2, &selector, d->chosen, &index, err);
        if (r == BYRE_OK)
            r = qcow2_snapshot_check(&d->qcow2->snapshots.entries[index],
                                     &d->qcow2->header, err);
        if (r < 0)
            return r;
        d->chosen[index] = true;
    }
    return BYRE_OK;
}

static int prepare(struct deletion *d, const struct byre_snapshot_ref *refs,
                   size_t count, struct byre_error *err)
{
    const struct byre_snapshot *unused;
    size_t total;
    int r;

    r = qcow2_snapshots(&d->qcow2->engine, &unused, &total, err);
    if (r < 0)
        return r;
    d->chosen = calloc(total + 1, sizeof(*d->chosen));
    d->gone = calloc(count + 1, sizeof(*d->gone));
    if (d->chosen == NULL || d->gone == NULL)
        return fail_nomem(err, "a list of snapshots",
                          total + count * sizeof(*d->gone));
    return choose(d, refs, count, err);
}

/* ---- The table ---- */

/* Parts the list; the texts of those that are gone are not looked at again. */
static int write_table(struct deletion *d, struct byre_error *err)
{
    const struct snapshot_list *list = &d->qcow2->snapshots;
    const size_t bytes = (list->count + 1) * sizeof(struct qcow2_snapshot);
    struct qcow2_snapshot *stay = malloc(bytes);
    size_t staying = 0;
    int r;

    if (stay == NULL)
        return fail_nomem(err, "the snapshot table", bytes);
    for (size_t i = 0; i < list->count; i++) {
        if (d->chosen[i])
            d->gone[d->gone_count++] = list->entries[i];
        else
            stay[staying++] = list->entries[i];
    }
    r = snapshot_table_prepare(d->qcow2, stay, staying, &d->table, err);
    free(stay);
    return r;
}

static int switch_table(struct deletion *d, struct byre_error *err)
{
    int r;

    r = writer_flush(&d->qcow2->writer, err);
    if (r == BYRE_OK)
        r = write_table(d, err);
    if (r == BYRE_OK)
        r = writer_flush(&d->qcow2->writer, err);
    if (r == BYRE_OK)
        r = snapshot_table_switch(d->qcow2, &d->table, err);
    if (r < 0)
        snapshot_table_give_up(d->qcow2, &d->table);
    return r;
}

/* ---- What they referred to ---- */

static int gather(struct deletion *d, const struct qcow2_snapshot *snapshot,
                  struct l2_list *list, struct byre_error *err)
{
    struct qcow2 *qcow2 = d->qcow2;
    uint64_t *entries;
    uint64_t count;
    int r;

    r = snapshot_load_l1(qcow2, snapshot, &entries, &count, err);
    if (r < 0)
        return r;
    r = l2_list_add(list, qcow2, entries, count, true, err);
    free(entries);
    if (r == BYRE_OK)
        r = allocator_release(qcow2->allocator, snapshot->l1_offset,
                              UINT64_C(8) * snapshot->l1_entries, 0, err);
    return r;
}

/* A table that several have is walked once. */
static int release_trees(struct deletion *d, struct byre_error *err)
{
    size_t next = 0;
    int r = BYRE_OK;

    while (next < d->gone_count && r == BYRE_OK) {
        struct l2_list list = { 0 };

        while (next < d->gone_count && r == BYRE_OK &&
               list.count < MOST_GATHERED)
            r = gather(d, &d->gone[next++], &list, err);
        if (r == BYRE_OK) {
            l2_list_sort(&list);
            r = tree_counts_release(d->qcow2, &list, err);
        }
        l2_list_done(&list);
    }
    return r;
}

static int release(struct deletion *d, struct byre_error *err)
{
    int r;

    r = release_trees(d, err);
    if (r == BYRE_OK)
        r = qcow2_settle(d->qcow2, err);
    if (r == BYRE_OK)
        r = snapshot_correct_flags(d->qcow2, err);
    if (r < 0)
        error_prefix(err, "snapshots are deleted, but their space could not "
                          "be freed");
    return r;
}

/* ---- The call ---- */

int qcow2_snapshot_delete(struct engine *engine,
                          const struct byre_snapshot_ref *refs, size_t count,
                          struct byre_error *err)
{
    struct deletion d = { .qcow2 = qcow2_of(engine) };
    int r;

    r = snapshot_check_allowed(d.qcow2, err);
    if (r == BYRE_OK)
        r = prepare(&d, refs, count, err);
    if (r == BYRE_OK && count > 0) {
        r = switch_table(&d, err);
        if (r == BYRE_OK)
            r = release(&d, err);
    }
    free(d.chosen);
    free(d.gone);
    return r;
}
