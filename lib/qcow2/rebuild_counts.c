/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/rebuild_parts.h"

#define RUN_CHECK "run check on the image"

/* ---- Counting ---- */

static int fail_fault(const struct reference *ref, struct byre_error *err)
{
    char what[REFERENCE_TEXT_BYTES];

    reference_describe(ref, what, sizeof(what));
    return fail_at(err, BYRE_E_CORRUPT,
                   ref->table_offset == BYRE_NO_OFFSET ? ref->offset
                                                       : ref->table_offset,
                   "refcounts cannot be rebuilt: %s %s; " RUN_CHECK, what,
                   reference_fault_text(reference_grave_faults(ref)));
}

/* Room is kept free for what may turn up behind the end of the file. */
static void count_anything(struct rebuild *rebuild, const struct reference *ref)
{
    const uint64_t farthest =
        rebuild->file_bytes +
        min_u64(rebuild->qcow2->header.size_bytes, STORE_MAX_OFFSET / 4);
    uint64_t cluster;

    if (reference_is_counted(ref))
        reference_counts_add(&rebuild->counts, ref, &cluster);
    else if (ref->bytes > 0 && (ref->faults & REFERENCE_BEYOND_LIMIT) == 0 &&
             range_within(ref->offset, ref->bytes, farthest))
        reference_counts_reserve(&rebuild->counts, ref->offset, ref->bytes);
}

/* How many references are counted from one call of the watcher to the next. */
#define WATCH_EVERY UINT64_C(65536)

/* In clusters of the file, of which most are referred to once. */
static int tell_progress(struct rebuild *rebuild, struct byre_error *err)
{
    const struct engine_progress *progress = rebuild->progress;
    const uint64_t total = rebuild->file_bytes / rebuild->cluster_bytes + 1;

    if (rebuild->seen++ % WATCH_EVERY != 0 || progress == NULL)
        return BYRE_OK;
    return progress->advance(progress->user, min_u64(rebuild->seen - 1, total),
                             total, err);
}

static int count_reference(void *user, const struct reference *ref,
                           struct byre_error *err)
{
    const uint32_t beyond = REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;
    struct rebuild *rebuild = user;
    uint64_t cluster;
    int r;

    r = tell_progress(rebuild, err);
    if (r < 0)
        return r;

    if (ref->owner == REFERENCE_REFCOUNT_TABLE ||
        ref->owner == REFERENCE_REFCOUNT_BLOCK) {
        if (ref->bytes > 0 && (ref->faults & beyond) == 0)
            reference_counts_reserve(&rebuild->counts, ref->offset, ref->bytes);
        return BYRE_OK;
    }
    if (rebuild->tolerant) {
        count_anything(rebuild, ref);
        return BYRE_OK;
    }
    if (reference_grave_faults(ref) != 0)
        return fail_fault(ref, err);
    if (!reference_counts_add(&rebuild->counts, ref, &cluster))
        return fail_at(err, BYRE_E_CORRUPT, ref->offset,
                       "refcounts cannot be rebuilt: the %s at %" PRIu64
                       " shares the cluster at %" PRIu64
                       " with another structure; " RUN_CHECK,
                       reference_owner_name(ref->owner), ref->offset,
                       cluster * rebuild->cluster_bytes);
    return BYRE_OK;
}

int rebuild_count_window(struct rebuild *rebuild, uint64_t first,
                         struct byre_error *err)
{
    int r;

    do {
        reference_counts_start(&rebuild->counts, first);
        reference_counts_range(
            &rebuild->counts, rebuild->start * rebuild->cluster_bytes,
            rebuild->clusters * rebuild->cluster_bytes, REFERENCE_USE_TABLE);
        r = references_walk(rebuild->qcow2, REFERENCES_ALL, count_reference,
                            rebuild, err);
        if (r == BYRE_OK)
            r = reference_counts_widen(&rebuild->counts, err);
    } while (r > 0);
    return r;
}

int rebuild_check_count(const struct rebuild *rebuild, uint64_t cluster,
                        uint64_t count, struct byre_error *err)
{
    const uint32_t order = rebuild->order;
    const uint64_t most = min_u64(refcount_max(order), REFERENCE_COUNT_MAX - 1);
    const bool as_it_is = order == rebuild->qcow2->header.refcount_order;

    if (count > most && !as_it_is)
        return fail_at(err, BYRE_E_LIMIT, cluster * rebuild->cluster_bytes,
                       "refcounts of %u bits cannot count the cluster at "
                       "%" PRIu64 ", which is referred to %" PRIu64
                       " times: choose wider ones, or delete snapshots",
                       1u << order, cluster * rebuild->cluster_bytes, count);
    if (count > most && !rebuild->tolerant)
        return fail_at(
            err, BYRE_E_CORRUPT, cluster * rebuild->cluster_bytes,
            "refcounts cannot be rebuilt: the cluster at %" PRIu64
            " is referred to %" PRIu64 " times, more than the limit of %" PRIu64
            " for refcounts of %u bits; " RUN_CHECK,
            cluster * rebuild->cluster_bytes, count, most, 1u << order);
    return BYRE_OK;
}

/* ---- Survey ---- */

void rebuild_need_block(struct rebuild *rebuild, uint64_t index)
{
    if (rebuild_needs(rebuild, index))
        return;
    rebuild->needed[index / 8] |= (uint8_t)(1u << index % 8);
    rebuild->needed_blocks++;
    rebuild->needed_end = max_u64(rebuild->needed_end, index + 1);
}

int rebuild_fail_table_size(const struct rebuild *rebuild, uint64_t entries,
                            struct byre_error *err)
{
    return fail(err, BYRE_E_LIMIT,
                "refcounts cannot be rebuilt: clusters up to %" PRIu64
                " need a table of %" PRIu64
                " entries, more than the limit of %" PRIu64 "; " RUN_CHECK,
                rebuild->end * rebuild->cluster_bytes, entries,
                REBUILD_MOST_BLOCKS);
}

static int survey_window(struct rebuild *rebuild, struct byre_error *err)
{
    const struct reference_counts *counts = &rebuild->counts;
    int r;

    rebuild->end = max_u64(rebuild->end, counts->end);
    if (div_round_up(rebuild->end, rebuild->per_block) > REBUILD_MOST_BLOCKS)
        return rebuild_fail_table_size(
            rebuild, div_round_up(rebuild->end, rebuild->per_block), err);
    for (uint64_t i = 0; i < counts->clusters; i++) {
        const uint32_t count = reference_counts_get(counts, i);

        if (count == 0)
            continue;
        r = rebuild_check_count(rebuild, counts->first + i, count, err);
        if (r < 0)
            return r;
        rebuild_need_block(rebuild, (counts->first + i) / rebuild->per_block);
    }
    return BYRE_OK;
}

int rebuild_survey(struct rebuild *rebuild, struct byre_error *err)
{
    int r;

    for (uint64_t first = 0; first != REFERENCE_COUNTS_END;
         first = rebuild->counts.next) {
        r = rebuild_count_window(rebuild, first, err);
        if (r < 0)
            return r;

        r = survey_window(rebuild, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}
