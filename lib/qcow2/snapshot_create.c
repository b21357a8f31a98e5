/* SPDX-License-Identifier: MIT */
/*
 * Taking a snapshot: the active tree gets a second owner.  In this order, each
 * step durable before the next:
 *
 *   no COPIED flag is left in the active tree
 *   counts of all tables and clusters are raised; the copy of the L1 table and
 *   the new snapshot table are written
 *   the header switches to the new snapshot table
 *   VM state leaves the active tree
 *
 * A crash before the switch leaves missing flags and leaks, one behind it VM
 * state that the disk still has.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "qcow2/copied_flags.h"
#include "qcow2/snapshot_table.h"
#include "qcow2/snapshot_tree.h"
#include "qcow2/tree_counts.h"

/* QEMU cuts longer ones off. */
#define MOST_ID_BYTES   127
#define MOST_NAME_BYTES 255

struct creation {
    struct qcow2 *qcow2;
    struct qcow2_snapshot snapshot;
    char new_id[24];
    struct l2_list tables;
    struct host_run l1_run;
    struct snapshot_table table;
};

/* ---- The entry ---- */

static void choose_id(struct creation *c)
{
    const struct snapshot_list *list = &c->qcow2->snapshots;
    unsigned long long largest = 0;

    for (size_t i = 0; i < list->count; i++) {
        const unsigned long long id =
            strtoull(list->public_entries[i].id, NULL, 10);

        if (id > largest && id < ULLONG_MAX)
            largest = id;
    }
    snprintf(c->new_id, sizeof(c->new_id), "%llu", largest + 1);
    c->snapshot.id = c->new_id;
    c->snapshot.id_bytes = (uint16_t)strlen(c->new_id);
}

static int check_text(const char *what, const char *text, size_t most,
                      struct byre_error *err)
{
    if (strlen(text) <= most)
        return BYRE_OK;
    return fail(err, BYRE_E_LIMIT,
                "the %s of a snapshot has %zu bytes, more than the limit of "
                "%zu: choose a shorter one",
                what, strlen(text), most);
}

static int take_id(struct creation *c, const char *id, struct byre_error *err)
{
    const struct snapshot_list *list = &c->qcow2->snapshots;
    int r;

    if (id == NULL) {
        choose_id(c);
        return BYRE_OK;
    }
    r = check_text("id", id, MOST_ID_BYTES, err);
    for (size_t i = 0; i < list->count && r == BYRE_OK; i++) {
        if (strcmp(list->public_entries[i].id, id) == 0)
            r = fail(err, BYRE_E_INVALID,
                     "the snapshot '%s' has the id '%s' already: choose "
                     "another, or none",
                     list->public_entries[i].name, id);
    }
    c->snapshot.id = id;
    c->snapshot.id_bytes = (uint16_t)strlen(id);
    return r;
}

static int take_name(struct creation *c, const char *name,
                     struct byre_error *err)
{
    c->snapshot.name = name;
    c->snapshot.name_bytes = (uint16_t)strlen(name);
    return check_text("name", name, MOST_NAME_BYTES, err);
}

static void take_date(struct creation *c,
                      const struct byre_snapshot_options *opts)
{
    struct timespec now = { 0 };

    c->snapshot.date_sec = opts->date_sec;
    c->snapshot.date_nsec = opts->date_nsec;
    if (opts->date_sec != 0 || opts->date_nsec != 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    c->snapshot.date_sec = (uint32_t)now.tv_sec;
    c->snapshot.date_nsec = (uint32_t)now.tv_nsec;
}

static int describe(struct creation *c,
                    const struct byre_snapshot_options *opts,
                    struct byre_error *err)
{
    const struct byre_snapshot *unused;
    size_t count;
    int r;

    r = qcow2_snapshots(&c->qcow2->engine, &unused, &count, err);
    if (r < 0)
        return r;

    c->snapshot = (struct qcow2_snapshot){
        .l1_entries = c->qcow2->header.l1_entries,
        .vm_clock_nsec = opts->vm_clock_nsec,
        .vm_state_bytes = opts->vm_state_bytes,
        .size_bytes = c->qcow2->header.size_bytes,
        .icount = opts->icount,
        .extra_bytes = QCOW2_SNAPSHOT_EXTRA_BYTES,
    };
    take_date(c, opts);
    r = take_name(c, opts->name, err);
    return r < 0 ? r : take_id(c, opts->id, err);
}

/* ---- What nothing refers to yet ---- */

static int write_l1(struct creation *c, struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    const uint64_t count = qcow2->header.l1_entries;
    uint64_t *entries = malloc((size_t)(count + 1) * sizeof(*entries));
    int r;

    if (entries == NULL)
        return fail_nomem(err, "an L1 table", (size_t)count * 8);
    for (uint64_t i = 0; i < count; i++)
        entries[i] = l1_get(&qcow2->l1, i);
    r = snapshot_write_l1(qcow2, entries, count, &c->l1_run, err);
    free(entries);
    c->snapshot.l1_offset = c->l1_run.offset;
    return r;
}

static int write_table(struct creation *c, struct byre_error *err)
{
    const struct snapshot_list *list = &c->qcow2->snapshots;
    const size_t bytes = (list->count + 1) * sizeof(struct qcow2_snapshot);
    struct qcow2_snapshot *entries = malloc(bytes);
    int r;

    if (entries == NULL)
        return fail_nomem(err, "the snapshot table", bytes);
    if (list->count > 0)
        memcpy(entries, list->entries, list->count * sizeof(*entries));
    entries[list->count] = c->snapshot;
    r = snapshot_table_prepare(c->qcow2, entries, list->count + 1, &c->table,
                               err);
    free(entries);
    return r;
}

/* ---- Flags and counts ---- */

static int clear_flags(struct creation *c, struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    int r;

    r = copied_flags_clear(qcow2, c->tables.tables, c->tables.count, err);
    table_cache_forget_all(qcow2->tables);
    for (uint64_t i = 0; i < qcow2->l1.held && r == BYRE_OK; i++) {
        const uint64_t entry = l1_get(&qcow2->l1, i);

        if ((entry & QCOW2_ENTRY_COPIED) != 0)
            r = l1_set(&qcow2->l1, i, entry & ~QCOW2_ENTRY_COPIED, err);
    }
    return r < 0 ? r : writer_flush(&qcow2->writer, err);
}

/* The snapshot is not: flags that are missing only cost copies, counts that
   stay too high space. */
static void restore_flags(struct qcow2 *qcow2)
{
    if (writer_flush(&qcow2->writer, NULL) == BYRE_OK)
        snapshot_correct_flags(qcow2, NULL);
}

static int raise_and_switch(struct creation *c, struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    int r;

    r = tree_counts_raise(qcow2, &c->tables, err);
    if (r < 0)
        return r;
    r = writer_flush(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = snapshot_table_switch(qcow2, &c->table, err);
    if (r < 0)
        tree_counts_lower(qcow2, &c->tables);
    return r;
}

static int take(struct creation *c, struct byre_error *err)
{
    int r;

    r = write_l1(c, err);
    if (r == BYRE_OK)
        r = write_table(c, err);
    if (r < 0)
        return r;

    r = clear_flags(c, err);
    if (r == BYRE_OK)
        r = raise_and_switch(c, err);
    if (r < 0)
        restore_flags(c->qcow2);
    return r;
}

/* ---- VM state ---- */

static int drop_vm_state(struct qcow2 *qcow2, struct byre_error *err)
{
    const uint64_t start = qcow2_vm_state_start(qcow2);
    const uint64_t end = qcow2->l1.held * qcow2_l1_range_bytes(qcow2);
    int r;

    if (start >= end)
        return BYRE_OK;
    r = qcow2_drop_clusters(qcow2, start, end, err);
    if (r == BYRE_OK)
        r = qcow2_settle(qcow2, err);
    if (r < 0)
        error_prefix(err, "the snapshot is taken, but the disk still has its "
                          "VM state too");
    return r;
}

/* ---- The call ---- */

static void give_up(struct creation *c)
{
    struct qcow2 *qcow2 = c->qcow2;

    snapshot_table_give_up(qcow2, &c->table);
    if (c->l1_run.clusters > 0)
        allocator_give_back(
            qcow2->allocator, c->l1_run.offset,
            c->l1_run.clusters * engine_cluster_bytes(&qcow2->engine), NULL);
}

int qcow2_snapshot_create(struct engine *engine,
                          const struct byre_snapshot_options *opts,
                          struct byre_error *err)
{
    struct creation c = { .qcow2 = qcow2_of(engine) };
    int r;

    r = snapshot_check_allowed(c.qcow2, err);
    if (r == BYRE_OK)
        r = describe(&c, opts, err);
    if (r == BYRE_OK)
        r = writer_flush(&c.qcow2->writer, err);
    if (r == BYRE_OK)
        r = l2_list_active(&c.tables, c.qcow2, err);
    if (r == BYRE_OK)
        r = qcow2_mark_corrupt(c.qcow2,
                               tree_counts_check(c.qcow2, &c.tables, err), err);
    if (r == BYRE_OK) {
        r = take(&c, err);
        if (r < 0)
            give_up(&c);
    }
    l2_list_done(&c.tables);
    return r < 0 ? r : drop_vm_state(c.qcow2, err);
}
