/* SPDX-License-Identifier: MIT */
/*
 * References, held against refcounts.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "format/refcount.h"
#include "qcow2/check.h"
#include "qcow2/refcount_scan.h"
#include "qcow2/reference_walk.h"

/* ---- One reference ---- */

bool check_may_write_table(const struct check *check,
                           const struct reference *table)
{
    return reference_can_walk(table) && !check->owners.more &&
           !check_owners_overlap(&check->owners, check->cluster_bytes,
                                 table->offset, table->bytes);
}

/* What the disk is made of, for those who ask how it lies in the file. */
static void count_cluster(struct check *check, const struct reference *ref)
{
    struct byre_check_result *result = &check->result;

    if (ref->owner == REFERENCE_L2_TABLE)
        check->contiguous = 0;
    if (!ref->active || (ref->faults & REFERENCE_SUBCLUSTERS) != 0)
        return;
    if (ref->owner == REFERENCE_COMPRESSED &&
        (ref->faults & REFERENCE_NOT_RAW) == 0) {
        result->allocated_clusters++;
        result->compressed_clusters++;
        result->fragmented_clusters++;
    }
    if (ref->owner == REFERENCE_DATA || ref->owner == REFERENCE_EXTERNAL_DATA) {
        result->allocated_clusters++;
        if (check->contiguous != 0 && ref->offset != check->contiguous)
            result->fragmented_clusters++;
        check->contiguous = ref->offset + check->cluster_bytes;
    }
}

static bool is_of_refcounts(const struct reference *ref)
{
    return ref->owner == REFERENCE_REFCOUNT_TABLE ||
           ref->owner == REFERENCE_REFCOUNT_BLOCK;
}

/* What the faults of an entry mean for what else may be believed. */
static void judge(struct check *check, const struct reference *ref)
{
    const bool is_refcounts = is_of_refcounts(ref);

    if (is_refcounts)
        check->broken = true;
    check->incomplete |=
        (ref->faults & (REFERENCE_INCOMPLETE | REFERENCE_OVERLONG)) != 0;
    check->bitmaps_lost |= ref->owner == REFERENCE_BITMAP_DIRECTORY;
    if (!is_refcounts && (ref->faults & REFERENCE_DAMAGED) != 0) {
        check->blind = true;
        check->hidden |= ref->owner != REFERENCE_L1_TABLE;
    }
    if (ref->owner == REFERENCE_BITMAP_DIRECTORY ||
        ref->owner == REFERENCE_SNAPSHOT_TABLE)
        check->blind = true;
    if ((ref->owner == REFERENCE_L2_TABLE || ref->owner == REFERENCE_L1_TABLE ||
         ref->owner == REFERENCE_BITMAP_TABLE) &&
        !reference_can_walk(ref))
        check->blind = true;
}

/* Where one fault says it all, the others are not named. */
static uint32_t faults_to_report(const struct reference *ref)
{
    const uint32_t reserved = ref->faults & REFERENCE_RESERVED_BITS;
    const uint32_t senseless = REFERENCE_SUBCLUSTERS | REFERENCE_NOT_RAW;
    const uint32_t beyond = REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;

    if (ref->owner == REFERENCE_REFCOUNT_BLOCK)
        return reserved != 0 ? reserved : ref->faults & -ref->faults;
    if (ref->owner == REFERENCE_COMPRESSED && (ref->faults & senseless) != 0)
        return ref->faults & ~beyond;
    return ref->faults;
}

static void report_faults(struct check *check, const struct reference *ref,
                          bool repaired)
{
    for (uint32_t left = faults_to_report(ref); left != 0; left &= left - 1)
        check_found_fault(check, ref, left & -left, repaired);
}

static void find_faults(struct check *check, const struct reference *ref)
{
    if (check->mode == CHECK_REPLACING) {
        if (is_of_refcounts(ref))
            report_faults(check, ref, true);
        return;
    }
    count_cluster(check, ref);
    if (ref->faults == 0)
        return;
    judge(check, ref);
    check->faults++;
    check->cut_off |= (ref->faults & REFERENCE_BEYOND_FILE) != 0;
    if (check->mode == CHECK_REPORT)
        report_faults(check, ref, false);
}

static void find_overlap(struct check *check, const struct reference *ref,
                         uint64_t cluster)
{
    const uint8_t uses =
        reference_counts_use(&check->counts, cluster - check->counts.first);
    const struct check_shared shared = {
        .cluster = cluster,
        .overlaps = true,
    };
    const struct check_place place = {
        .object = reference_owner_name(ref->owner),
        .host_offset = cluster * check->cluster_bytes,
        .guest_offset = ref->guest_offset,
    };

    /* Two ranges of a disk that share a table: their counts say whether that
       is so on purpose. */
    if ((uses & (REFERENCE_USE_TABLE | REFERENCE_USE_DATA)) == 0)
        return;
    check->overlaps++;
    check->broken |= (uses & REFERENCE_USE_REFCOUNTS) != 0;
    if (check->mode != CHECK_REPORT && check->mode != CHECK_SURVEY)
        return;
    if (!check_owners_note(check, &shared))
        check_found(check, BYRE_FINDING_CORRUPTION, false, &place,
                    "the cluster at %" PRIu64
                    " is used as %s, and as something else",
                    place.host_offset, place.object);
}

static int look(void *user, const struct reference *ref, struct byre_error *err)
{
    struct check *check = user;
    const struct engine_progress *progress = &check->sink->progress;
    uint64_t cluster;

    if (check->in_first_walk)
        find_faults(check, ref);
    if (reference_is_counted(ref) &&
        !reference_counts_add(&check->counts, ref, &cluster))
        find_overlap(check, ref, cluster);
    if (ref->owner != REFERENCE_L2_TABLE || progress->advance == NULL)
        return BYRE_OK;
    return progress->advance(
        progress->user,
        min_u64(ref->guest_offset, check->qcow2->header.size_bytes),
        check->qcow2->header.size_bytes, err);
}

/* ---- One count ---- */

static bool may_correct(const struct check *check, uint64_t stored,
                        uint64_t counted)
{
    const uint64_t most = refcount_max(check->qcow2->header.refcount_order);

    if (check->mode == CHECK_REPLACING)
        return counted <= most;
    if (check->mode != CHECK_MEND || check->broken ||
        check->stored.state != STORED_BLOCK || counted > most)
        return false;
    return stored > counted ? !check->blind : check_repairs_all(check);
}

static void report_leak(struct check *check, uint64_t cluster, uint64_t stored,
                        uint64_t counted, bool repaired)
{
    const struct check_place place = {
        .object = "cluster",
        .host_offset = cluster * check->cluster_bytes,
        .guest_offset = BYRE_NO_OFFSET,
    };

    check_found(check, BYRE_FINDING_LEAK, repaired, &place,
                "the cluster at %" PRIu64 " has the refcount %" PRIu64
                ", but %" PRIu64 " references",
                place.host_offset, stored, counted);
}

static void report_low(struct check *check, uint64_t cluster, uint64_t stored,
                       uint64_t counted, bool repaired)
{
    const struct check_shared shared = {
        .cluster = cluster,
        .stored = stored,
        .counted = counted,
        .repaired = repaired,
    };
    const struct check_place place = {
        .object = "cluster",
        .host_offset = cluster * check->cluster_bytes,
        .guest_offset = BYRE_NO_OFFSET,
    };

    if (check->quiet)
        return;
    if (counted > 1 && check_owners_note(check, &shared))
        return;
    check_found(check, BYRE_FINDING_CORRUPTION, repaired, &place,
                "the cluster at %" PRIu64 " has the refcount %" PRIu64
                ", but %" PRIu64 " references",
                place.host_offset, stored, counted);
}

/* `place` is that of the count in its block, which is loaded. */
static void compare(struct check *check, uint64_t cluster, uint64_t place,
                    uint64_t counted)
{
    const uint64_t stored = stored_counts_get(&check->stored, place);
    bool repaired;

    if (stored != 0 || counted != 0)
        check->highest = max_u64(check->highest, cluster + 1);
    if (stored == counted || (stored > counted && check->hidden))
        return;

    check->mismatches++;
    check->missing |= counted > 0 && check->stored.state == STORED_NONE;
    if (check->mode == CHECK_SURVEY)
        return;
    repaired = may_correct(check, stored, counted);
    if (repaired && check->mode == CHECK_MEND)
        stored_counts_put(&check->stored, place, counted);
    if (stored > counted)
        report_leak(check, cluster, stored, counted, repaired);
    else
        report_low(check, cluster, stored, counted, repaired);
}

/* ---- Ranges of clusters ---- */

/* Clusters whose counts cannot be read; QEMU counts each. */
static void report_unreadable(struct check *check, uint64_t clusters)
{
    const struct check_place place = {
        .object = "refcount block",
        .host_offset = check->qcow2->header.refcount_table_offset +
                       check->stored.index * 8,
        .guest_offset = BYRE_NO_OFFSET,
    };

    check->mismatches++;
    check->broken = true;
    if (check->mode == CHECK_SURVEY)
        return;
    if (check->mode == CHECK_REPLACING)
        return; /* the entry itself is reported as corrected */
    check_found(check, BYRE_FINDING_ERROR, false, &place,
                "the refcounts of %" PRIu64
                " clusters cannot be read: entry %" PRIu64
                " of the refcount table is 0x%" PRIx64,
                clusters, check->stored.index, check->stored.raw);
    check->result.check_errors += clusters - 1;
}

/* Nothing refers to the clusters [from, to), of one block. */
static void compare_unused(struct check *check, uint64_t from, uint64_t to)
{
    const uint32_t order = check->qcow2->header.refcount_order;
    const uint64_t base = check->stored.index * check->stored.per_block;

    if (check->stored.state != STORED_BLOCK)
        return;
    for (uint64_t i = from - base;; i++) {
        i = refcount_find_nonzero(check->stored.block, i, to - base, order);
        if (i >= to - base)
            break;
        compare(check, base + i, i, 0);
    }
}

/* The clusters [from, to), of one block, which the window counts. */
static void compare_counted(struct check *check, uint64_t from, uint64_t to)
{
    const uint64_t base = check->stored.index * check->stored.per_block;
    const uint64_t first = check->counts.first;

    if (check->stored.state == STORED_DAMAGED) {
        report_unreadable(check, to - from);
        return;
    }
    for (uint64_t cluster = from; cluster < to; cluster++)
        compare(check, cluster, cluster - base,
                reference_counts_get(&check->counts, cluster - first));
}

/* Compares the clusters [from, to): all in the window, or none of them. */
static int compare_range(struct check *check, uint64_t from, uint64_t to,
                         bool counted, struct byre_error *err)
{
    const uint64_t per_block = check->stored.per_block;
    int r;

    /* Behind the table there is nothing that could be too high. */
    if (!counted)
        to = min_u64(to, check->stored.table_entries * per_block);
    while (from < to) {
        const uint64_t index = from / per_block;
        const uint64_t end = min_u64(to, (index + 1) * per_block);

        r = stored_counts_load(&check->stored, index, err);
        if (r < 0)
            return r;
        if (counted)
            compare_counted(check, from, end);
        else
            compare_unused(check, from, end);
        from = end;
    }
    return BYRE_OK;
}

/* The window, and what lies between it and the next. */
static int compare_window(struct check *check, struct byre_error *err)
{
    const struct reference_counts *counts = &check->counts;
    const uint64_t window_end =
        min_u64(counts->first + counts->clusters, check->end);
    const uint64_t next = min_u64(counts->next, check->end);
    int r;

    r = compare_range(check, counts->first, window_end, true, err);
    if (r < 0)
        return r;
    return compare_range(check, window_end, next, false, err);
}

static int check_window(struct check *check, uint64_t first,
                        struct byre_error *err)
{
    int r;

    do {
        reference_counts_start(&check->counts, first);
        r = references_walk(check->qcow2, REFERENCES_ALL | REFERENCES_EXTERNAL,
                            look, check, err);
        if (r < 0)
            return r;
        check->in_first_walk = false;
        r = reference_counts_widen(&check->counts, err);
    } while (r > 0);
    if (r < 0)
        return r;
    check->end = max_u64(check->file_clusters, check->counts.end);
    return compare_window(check, err);
}

int check_counts(struct check *check, struct byre_error *err)
{
    int r;

    for (uint64_t first = 0; first != REFERENCE_COUNTS_END;
         first = check->counts.next) {
        r = check_window(check, first, err);
        if (r < 0)
            return r;
    }
    return stored_counts_save(&check->stored, err);
}
