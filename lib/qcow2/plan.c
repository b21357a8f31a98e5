/* SPDX-License-Identifier: MIT */
/*
 * Where a write goes: the run of clusters for which one action holds, the
 * clusters it takes, and the entries it changes when its data is in place.
 */
#include <assert.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/internal.h"

static uint64_t cluster_bytes(const struct qcow2 *qcow2)
{
    return engine_cluster_bytes(&qcow2->engine);
}

static uint64_t subcluster_bytes(const struct qcow2 *qcow2)
{
    return qcow2->l2_format.extended ? cluster_bytes(qcow2) / QCOW2_SUBCLUSTERS
                                     : cluster_bytes(qcow2);
}

/* What is to be done with one piece of a cluster, and how far it goes. */
struct step {
    enum plan_action action;
    uint64_t bytes;       /* from the guest offset on, within the cluster */
    uint64_t host_offset; /* of the guest offset; not of PLAN_ALLOCATE */
    uint64_t fill_bytes;
};

/*
 * A cluster that gets a new place takes with it what the old one holds; where
 * that is nothing, subclusters that are not written stay what they are.
 */
static uint64_t fill_of_new_cluster(const struct qcow2 *qcow2,
                                    struct raw_entry raw)
{
    const bool has_data =
        (raw.word & QCOW2_ENTRY_COMPRESSED) != 0 || (uint32_t)raw.bitmap != 0;

    return has_data ? cluster_bytes(qcow2) : subcluster_bytes(qcow2);
}

static int decide(struct qcow2 *qcow2, struct raw_entry raw,
                  uint64_t guest_offset, struct step *ret,
                  struct byre_error *err)
{
    const struct piece piece = qcow2_decode_piece(qcow2, raw, guest_offset);
    const bool owned = piece.copied && qcow2_has_table(qcow2, guest_offset) &&
                       (piece.kind == L2_DATA || piece.kind == L2_ZERO_ALLOC ||
                        piece.kind == L2_RESERVED);

    if (piece.kind == L2_INVALID)
        return qcow2_mark_corrupt(
            qcow2,
            fail(err, BYRE_E_CORRUPT,
                 "L2 entry 0x%016llx of guest offset %llu cannot be; run check",
                 (unsigned long long)raw.word,
                 (unsigned long long)guest_offset),
            err);

    *ret = (struct step){
        .action = !owned                  ? PLAN_ALLOCATE
                  : piece.kind == L2_DATA ? PLAN_OVERWRITE
                                          : PLAN_FILL,
        .bytes = piece.bytes,
        .host_offset = piece.host_offset,
        .fill_bytes = subcluster_bytes(qcow2),
    };
    if (ret->action == PLAN_ALLOCATE) {
        ret->bytes = cluster_bytes(qcow2) - guest_offset % cluster_bytes(qcow2);
        ret->fill_bytes = fill_of_new_cluster(qcow2, raw);
    }
    return BYRE_OK;
}

/* Whether the step behind `run` bytes goes on as the first does. */
static bool goes_on(const struct step *first, const struct step *next,
                    uint64_t run)
{
    return next->action == first->action &&
           next->fill_bytes == first->fill_bytes &&
           (first->action == PLAN_ALLOCATE ||
            next->host_offset == first->host_offset + run);
}

static int plan_run(struct qcow2 *qcow2, const struct raw_entry *entries,
                    struct write_plan *plan, struct byre_error *err)
{
    const uint64_t start = plan->guest_offset;
    const uint64_t first_cluster = start / cluster_bytes(qcow2);
    struct step first, next;
    uint64_t run;
    int r;

    r = decide(qcow2, entries[0], start, &first, err);
    if (r < 0)
        return r;

    for (run = first.bytes; run < plan->length; run += next.bytes) {
        const uint64_t at = start + run;

        r = decide(qcow2, entries[at / cluster_bytes(qcow2) - first_cluster],
                   at, &next, err);
        if (r < 0)
            return r;
        if (!goes_on(&first, &next, run))
            break;
    }

    plan->length = min_u64(plan->length, run);
    plan->action = first.action;
    plan->fill_bytes = first.fill_bytes;
    plan->store = qcow2->data_store;
    plan->host_offset = first.host_offset - start % cluster_bytes(qcow2);
    return BYRE_OK;
}

int qcow2_plan(struct engine *engine, struct write_plan *plan,
               struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const uint64_t slice = qcow2_slice_range_bytes(qcow2);
    struct raw_entry entries[QCOW2_MOST_ENTRIES];
    uint32_t count;
    int r;

    plan->length = min_u64(plan->length, slice - plan->guest_offset % slice);
    r = qcow2_entries_read(qcow2, plan->guest_offset, plan->length, entries,
                           &count, err);
    if (r < 0)
        return qcow2_mark_corrupt(qcow2, r, err);
    return plan_run(qcow2, entries, plan, err);
}

/* ---- Clusters ---- */

static uint64_t plan_start(const struct qcow2 *qcow2,
                           const struct write_plan *plan)
{
    return align_down(plan->guest_offset, cluster_bytes(qcow2));
}

static uint64_t plan_clusters(const struct qcow2 *qcow2,
                              const struct write_plan *plan)
{
    return div_round_up(plan->guest_offset + plan->length -
                            plan_start(qcow2, plan),
                        cluster_bytes(qcow2));
}

int qcow2_allocate(struct engine *engine, struct write_plan *plan,
                   struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const uint64_t start = plan_start(qcow2, plan);
    struct host_run run;
    int r;

    r = qcow2_make_table(qcow2, plan->guest_offset, err);
    if (r < 0)
        return qcow2_mark_corrupt(qcow2, r, err);
    if (engine->needs_data_file) {
        plan->host_offset = start; /* a cluster lies where the guest sees it */
        return BYRE_OK;
    }

    r = allocator_take(qcow2->allocator, plan_clusters(qcow2, plan), &run, err);
    if (r < 0)
        return qcow2_mark_corrupt(qcow2, r, err);

    plan->host_offset = run.offset;
    plan->reads_zero = run.reads_zero;
    plan->length =
        min_u64(plan->length, start + run.clusters * cluster_bytes(qcow2) -
                                  plan->guest_offset);
    qcow2_raise_file_end(qcow2,
                         run.offset + run.clusters * cluster_bytes(qcow2));
    return BYRE_OK;
}

void qcow2_give_back(struct engine *engine, const struct write_plan *plan)
{
    struct qcow2 *qcow2 = qcow2_of(engine);

    if (!engine->needs_data_file)
        allocator_give_back(qcow2->allocator, plan->host_offset,
                            plan_clusters(qcow2, plan) * cluster_bytes(qcow2),
                            NULL);
}

/* ---- Entries ---- */

/* Subclusters [from, to) of a cluster hold data now. */
static uint64_t bitmap_with_data(uint64_t bitmap, uint64_t from, uint64_t to)
{
    const uint64_t bits = ((UINT64_C(1) << (to - from)) - 1) << from;

    return (bitmap | bits) & ~(bits << QCOW2_SUBCLUSTERS);
}

/* The entry of the cluster at `cluster_start`, whose data is in place. */
static struct raw_entry linked_entry(const struct qcow2 *qcow2,
                                     const struct write_plan *plan,
                                     uint64_t cluster_start,
                                     struct raw_entry old)
{
    const uint64_t sub = subcluster_bytes(qcow2);
    const uint64_t end =
        align_up(plan->guest_offset + plan->length, plan->fill_bytes);
    const uint64_t from =
        max_u64(align_down(plan->guest_offset, plan->fill_bytes),
                cluster_start) -
        cluster_start;
    const uint64_t to = min_u64(end - cluster_start, cluster_bytes(qcow2));
    const struct l2_entry entry = {
        .kind = L2_DATA,
        .host_offset =
            plan->host_offset + (cluster_start - plan_start(qcow2, plan)),
    };
    struct raw_entry raw = {
        .word = l2_entry_encode(&entry, true, &qcow2->l2_format),
    };

    if (qcow2->l2_format.extended)
        raw.bitmap = bitmap_with_data(
            (old.word & QCOW2_ENTRY_COMPRESSED) != 0 ? 0 : old.bitmap,
            from / sub, to / sub);
    return raw;
}

int qcow2_link(struct engine *engine, const struct write_plan *plan,
               struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    struct raw_entry old[QCOW2_MOST_ENTRIES], linked[QCOW2_MOST_ENTRIES];
    const uint64_t start = plan_start(qcow2, plan);
    uint32_t count;
    int r;

    r = qcow2_entries_read(qcow2, plan->guest_offset, plan->length, old, &count,
                           err);
    if (r < 0)
        return r;

    for (uint32_t i = 0; i < count; i++)
        linked[i] =
            linked_entry(qcow2, plan, start + i * cluster_bytes(qcow2), old[i]);
    r = qcow2_entries_write(qcow2, plan->guest_offset, linked, count, err);
    if (r < 0 || plan->action == PLAN_FILL)
        return r;

    /* The data is linked: what goes wrong now loses space only. */
    for (uint32_t i = 0; i < count; i++)
        qcow2_release_entry(qcow2, old[i], 0, NULL);
    return BYRE_OK;
}

/* ---- Streams ---- */

/* Compressed clusters are for places that hold nothing yet. */
static int check_vacant(struct qcow2 *qcow2, uint64_t guest_offset,
                        struct byre_error *err)
{
    struct raw_entry raw;
    uint32_t count;
    int r;

    r = qcow2_entries_read(qcow2, guest_offset, 1, &raw, &count, err);
    if (r < 0)
        return r;
    if ((raw.word & (QCOW2_ENTRY_COMPRESSED | QCOW2_ENTRY_OFFSET_MASK)) == 0)
        return BYRE_OK;
    return fail(err, BYRE_E_STATE,
                "the cluster at guest offset %llu holds data or space already, "
                "and cannot be replaced by a compressed one",
                (unsigned long long)guest_offset);
}

/* The larger the clusters, the fewer bits an entry has for the offset. */
static int check_stream_place(struct qcow2 *qcow2, uint64_t host_offset,
                              uint32_t bytes, struct byre_error *err)
{
    const uint64_t limit = UINT64_C(1) << (70 - qcow2->header.cluster_bits);

    if (range_within(host_offset, bytes, limit))
        return BYRE_OK;
    allocator_give_back(qcow2->allocator, host_offset, bytes, NULL);
    return fail(err, BYRE_E_LIMIT,
                "no room is free for a compressed cluster below offset %llu, "
                "the limit for clusters of %llu bytes",
                (unsigned long long)limit,
                (unsigned long long)cluster_bytes(qcow2));
}

int qcow2_allocate_stream(struct engine *engine, struct write_plan *plan,
                          uint32_t bytes, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    r = check_vacant(qcow2, plan->guest_offset, err);
    if (r == BYRE_OK)
        r = qcow2_make_table(qcow2, plan->guest_offset, err);
    if (r == BYRE_OK)
        r = allocator_take_stream(qcow2->allocator, bytes, &plan->host_offset,
                                  err);
    if (r == BYRE_OK)
        r = check_stream_place(qcow2, plan->host_offset, bytes, err);
    if (r < 0)
        return qcow2_mark_corrupt(qcow2, r, err);

    plan->store = qcow2->store;
    qcow2_raise_file_end(
        qcow2, align_up(plan->host_offset + bytes, cluster_bytes(qcow2)));
    return BYRE_OK;
}

int qcow2_link_stream(struct engine *engine, const struct write_plan *plan,
                      uint32_t bytes, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const struct l2_entry entry = { .kind = L2_COMPRESSED,
                                    .host_offset = plan->host_offset,
                                    .compressed_bytes = bytes };
    const struct raw_entry raw = {
        .word = l2_entry_encode(&entry, false, &qcow2->l2_format),
    };

    return qcow2_entries_write(qcow2, plan->guest_offset, &raw, 1, err);
}

void qcow2_give_back_stream(struct engine *engine,
                            const struct write_plan *plan, uint32_t bytes)
{
    allocator_give_back(qcow2_of(engine)->allocator, plan->host_offset, bytes,
                        NULL);
}
