/* SPDX-License-Identifier: MIT */
/*
 * What the shared write path asks of version 1: where a write goes, the
 * clusters it takes, and the entries it changes when its data is in place.
 *
 * What is new goes behind the end of the file.  After a crash that end is found
 * from the file's length and from the tables, so nothing may point to what the
 * file does not cover: clusters and tables are written to their last byte
 * before anything points to them, and never left for the file to grow over
 * (plan.reads_zero is false even where nothing ever was).
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow1/internal.h"

/* ---- Entries ---- */

/* The entries of one slice. */
#define MOST_ENTRIES (TABLE_SLICE_MAX_BYTES / 8)

static uint64_t table_of(const struct qcow1 *qcow1, uint64_t guest_offset)
{
    return l1_get(&qcow1->l1, guest_offset / qcow1_l1_range_bytes(qcow1));
}

/* Copies entries of a slice that is here; false if it is not. */
static bool copy_entries(struct qcow1 *qcow1, const struct qcow1_place *place,
                         uint32_t count, uint64_t *ret)
{
    struct table_view view;

    do {
        if (!table_cache_find(qcow1->tables, place->host_offset, &view))
            return false;
        for (uint32_t i = 0; i < count; i++)
            ret[i] = table_view_word(&view, place->index + i);
    } while (!table_view_still_valid(&view));
    return true;
}

/* Reads `count` entries of one slice; all 0 where there is no table. */
static int entries_read(struct qcow1 *qcow1, uint64_t guest_offset,
                        uint32_t count, uint64_t *ret, struct byre_error *err)
{
    const uint64_t l2_offset = table_of(qcow1, guest_offset);
    struct qcow1_place place;
    int r;

    for (uint32_t i = 0; l2_offset == 0 && i < count; i++)
        ret[i] = 0;
    if (l2_offset == 0)
        return BYRE_OK;

    place = qcow1_slice_place(qcow1, l2_offset, guest_offset);
    assert(place.index + count <= UINT32_C(1) << qcow1->slice_bits);
    while (!copy_entries(qcow1, &place, count, ret)) {
        r = writer_load_slice(&qcow1->writer, place.host_offset, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* Changes them; there is a table. */
static int entries_write(struct qcow1 *qcow1, uint64_t guest_offset,
                         const uint64_t *entries, uint32_t count,
                         struct byre_error *err)
{
    const uint64_t l2_offset = table_of(qcow1, guest_offset);
    struct qcow1_place place;
    int r;

    assert(l2_offset != 0);
    place = qcow1_slice_place(qcow1, l2_offset, guest_offset);
    while (!table_cache_change(qcow1->tables, place.host_offset, place.index,
                               entries, count)) {
        r = writer_load_slice(&qcow1->writer, place.host_offset, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* ---- Tables ---- */

/* Writes a new table whole: the file may hold anything there. */
static int fill_table(struct qcow1 *qcow1, uint64_t l2_offset,
                      struct byre_error *err)
{
    const size_t length = (size_t)qcow1_l2_bytes(qcow1);
    uint8_t *zeroes = calloc(1, length);
    int r;

    if (zeroes == NULL)
        return fail_nomem(err, "an L2 table", length);

    r = store_write(qcow1->store, l2_offset, zeroes, length, err);
    free(zeroes);
    if (r < 0)
        error_prefix(err, "L2 table");
    return r;
}

static int install_table(struct qcow1 *qcow1, uint64_t guest_offset,
                         uint64_t l2_offset, struct byre_error *err)
{
    const uint64_t bytes = qcow1_l2_bytes(qcow1);
    int r;

    r = fill_table(qcow1, l2_offset, err);
    if (r == BYRE_OK)
        r = qcow1_space_add(&qcow1->space, QCOW1_L2_TABLE, l2_offset, bytes,
                            err);
    if (r < 0)
        return r;

    table_cache_forget(qcow1->tables, l2_offset, bytes);
    r = l1_set(&qcow1->l1, guest_offset / qcow1_l1_range_bytes(qcow1),
               l2_offset, err);
    if (r < 0)
        qcow1_space_remove(&qcow1->space, l2_offset, bytes);
    return r;
}

static int make_table(struct qcow1 *qcow1, uint64_t guest_offset,
                      struct byre_error *err)
{
    const uint64_t bytes = qcow1_l2_bytes(qcow1);
    uint64_t l2_offset;
    int r;

    r = qcow1_space_take(&qcow1->space, bytes,
                         engine_cluster_bytes(&qcow1->engine), &l2_offset, err);
    if (r < 0)
        return r;

    r = install_table(qcow1, guest_offset, l2_offset, err);
    if (r < 0)
        qcow1_space_give_back(&qcow1->space, l2_offset, bytes);
    return r;
}

/* Sees to it that the guest offset has an L2 table. */
static int need_table(struct qcow1 *qcow1, uint64_t guest_offset,
                      struct byre_error *err)
{
    const uint64_t range = qcow1_l1_range_bytes(qcow1);
    struct range_lock lock;
    int r = BYRE_OK;

    if (table_of(qcow1, guest_offset) != 0)
        return BYRE_OK;

    range_lock_take(&qcow1->writer.making, &lock,
                    align_down(guest_offset, range), range, false);
    if (table_of(qcow1, guest_offset) == 0)
        r = make_table(qcow1, guest_offset, err);
    range_lock_drop(&qcow1->writer.making, &lock);
    return r;
}

/* ---- The plan ---- */

static uint32_t plan_clusters(const struct qcow1 *qcow1,
                              const struct write_plan *plan)
{
    const uint32_t bits = qcow1->header.cluster_bits;

    return (uint32_t)(((plan->guest_offset + plan->length - 1) >> bits) -
                      (plan->guest_offset >> bits) + 1);
}

static uint64_t plan_bytes(const struct qcow1 *qcow1,
                           const struct write_plan *plan)
{
    return (uint64_t)plan_clusters(qcow1, plan) << qcow1->header.cluster_bits;
}

static bool goes_on(const struct l2_entry *first, const struct l2_entry *next,
                    uint64_t run)
{
    if (first->kind == L2_DATA)
        return next->kind == L2_DATA &&
               next->host_offset == first->host_offset + run;
    return next->kind == L2_UNALLOCATED || next->kind == L2_COMPRESSED;
}

/* Clusters from the first entry on for which one action holds. */
static uint32_t run_clusters(const struct qcow1 *qcow1, const uint64_t *entries,
                             uint32_t count)
{
    const struct l2_entry first = qcow1_decode_entry(qcow1, entries[0]);
    uint32_t n = 1;

    while (n < count) {
        const struct l2_entry next = qcow1_decode_entry(qcow1, entries[n]);

        if (!goes_on(&first, &next, (uint64_t)n << qcow1->header.cluster_bits))
            break;
        n++;
    }
    return n;
}

static int plan_run(struct qcow1 *qcow1, const uint64_t *entries,
                    uint32_t count, struct write_plan *plan,
                    struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow1->engine);
    const struct l2_entry first = qcow1_decode_entry(qcow1, entries[0]);
    const uint64_t run = run_clusters(qcow1, entries, count) * cluster;

    if (first.kind == L2_INVALID)
        return fail(err, BYRE_E_CORRUPT,
                    "L2 entry 0x%016" PRIx64 " of guest offset %" PRIu64
                    " cannot be; copy what can be read to a new image",
                    entries[0], plan->guest_offset);

    plan->length = min_u64(plan->length, run - plan->guest_offset % cluster);
    plan->action = first.kind == L2_DATA ? PLAN_OVERWRITE : PLAN_ALLOCATE;
    plan->fill_bytes = cluster;
    plan->store = qcow1->store;
    plan->host_offset = first.kind == L2_DATA ? first.host_offset : 0;
    plan->reads_zero = false;
    return BYRE_OK;
}

static int plan_write(struct engine *engine, struct write_plan *plan,
                      struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    const uint64_t slice = qcow1_slice_range_bytes(qcow1);
    uint64_t entries[MOST_ENTRIES];
    uint32_t count;
    int r;

    plan->length = min_u64(plan->length, slice - plan->guest_offset % slice);
    count = plan_clusters(qcow1, plan);
    r = entries_read(qcow1, plan->guest_offset, count, entries, err);
    if (r == BYRE_OK)
        r = plan_run(qcow1, entries, count, plan, err);
    return qcow1_note_corrupt(qcow1, r, err);
}

/* ---- Clusters ---- */

static int allocate(struct engine *engine, struct write_plan *plan,
                    struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    int r;

    r = need_table(qcow1, plan->guest_offset, err);
    if (r == BYRE_OK)
        r = qcow1_space_take(&qcow1->space, plan_bytes(qcow1, plan),
                             engine_cluster_bytes(engine), &plan->host_offset,
                             err);
    return qcow1_note_corrupt(qcow1, r, err);
}

/* What the entries had before is lost: the format frees nothing. */
static int link_clusters(struct engine *engine, const struct write_plan *plan,
                         struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    const uint32_t bits = qcow1->header.cluster_bits;
    const uint32_t count = plan_clusters(qcow1, plan);
    uint64_t linked[MOST_ENTRIES];

    for (uint32_t i = 0; i < count; i++) {
        const struct l2_entry entry = {
            .kind = L2_DATA,
            .host_offset = plan->host_offset + ((uint64_t)i << bits),
        };

        linked[i] = qcow1_l2_entry_encode(&entry, bits);
    }
    return entries_write(qcow1, plan->guest_offset, linked, count, err);
}

static void give_back(struct engine *engine, const struct write_plan *plan)
{
    struct qcow1 *qcow1 = qcow1_of(engine);

    qcow1_space_give_back(&qcow1->space, plan->host_offset,
                          plan_bytes(qcow1, plan));
}

/* ---- Streams ---- */

/* Streams begin at a sector, as QEMU places them. */
#define STREAM_ALIGNMENT 512

/* Compressed clusters are for places that hold nothing yet. */
static int check_vacant(struct qcow1 *qcow1, uint64_t guest_offset,
                        struct byre_error *err)
{
    uint64_t entry;
    int r;

    r = entries_read(qcow1, guest_offset, 1, &entry, err);
    if (r < 0 || entry == 0)
        return r;
    return fail(err, BYRE_E_STATE,
                "the cluster at guest offset %" PRIu64
                " holds data already, and cannot be replaced by a compressed "
                "one",
                guest_offset);
}

/* An entry has fewer bits for the offset of a stream than for a cluster's. */
static int take_stream(struct qcow1 *qcow1, uint32_t bytes,
                       uint64_t *ret_offset, struct byre_error *err)
{
    const uint64_t limit = UINT64_C(1) << (63 - qcow1->header.cluster_bits);
    uint64_t offset;
    int r;

    r = qcow1_space_take(&qcow1->space, bytes, STREAM_ALIGNMENT, &offset, err);
    if (r < 0)
        return r;
    if (offset < limit) {
        *ret_offset = offset;
        return BYRE_OK;
    }
    qcow1_space_give_back(&qcow1->space, offset, bytes);
    return fail(err, BYRE_E_LIMIT,
                "a compressed cluster would be at offset %" PRIu64
                ", past the format's limit of %" PRIu64,
                offset, limit);
}

static int allocate_stream(struct engine *engine, struct write_plan *plan,
                           uint32_t bytes, struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    int r;

    r = check_vacant(qcow1, plan->guest_offset, err);
    if (r == BYRE_OK)
        r = need_table(qcow1, plan->guest_offset, err);
    if (r == BYRE_OK)
        r = take_stream(qcow1, bytes, &plan->host_offset, err);
    if (r == BYRE_OK)
        plan->store = qcow1->store;
    return qcow1_note_corrupt(qcow1, r, err);
}

static int link_stream(struct engine *engine, const struct write_plan *plan,
                       uint32_t bytes, struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    const struct l2_entry entry = { .kind = L2_COMPRESSED,
                                    .host_offset = plan->host_offset,
                                    .compressed_bytes = bytes };
    const uint64_t raw =
        qcow1_l2_entry_encode(&entry, qcow1->header.cluster_bits);

    return entries_write(qcow1, plan->guest_offset, &raw, 1, err);
}

static void give_back_stream(struct engine *engine,
                             const struct write_plan *plan, uint32_t bytes)
{
    qcow1_space_give_back(&qcow1_of(engine)->space, plan->host_offset, bytes);
}

static int guard(struct engine *engine, struct byre_store *store,
                 uint64_t host_offset, uint64_t bytes, struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);

    assert(store == qcow1->store);
    return qcow1_note_corrupt(
        qcow1, qcow1_space_check(&qcow1->space, host_offset, bytes, err), err);
}

const struct writer_ops qcow1_writer_ops = {
    .plan = plan_write,
    .allocate = allocate,
    .link = link_clusters,
    .give_back = give_back,
    .allocate_stream = allocate_stream,
    .link_stream = link_stream,
    .give_back_stream = give_back_stream,
    .guard = guard,
};
