/* SPDX-License-Identifier: MIT */
/*
 * The steps of a repair (check.h), each durable before the next.
 */
#include "qcow2/check.h"
#include "qcow2/header_write.h"
#include "qcow2/rebuild.h"

/* Before anything changes: what we do not know of may not be true any more. */
static int clear_unknown_autoclear(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    const uint64_t known = header->autoclear & (QCOW2_AUTOCLEAR_BITMAPS |
                                                QCOW2_AUTOCLEAR_DATA_FILE_RAW);
    int r;

    if (header->autoclear == known)
        return BYRE_OK;
    r = header_write_features(qcow2, header->incompatible, header->compatible,
                              known, err);
    if (r < 0)
        return r;
    return store_flush(qcow2->store, err);
}

/* ---- Looking first ---- */

static int survey(struct check *check, struct byre_error *err)
{
    const struct byre_check_result fresh = {
        .size = check->result.size,
        .total_clusters = check->result.total_clusters,
        .corruptions_fixed = check->result.corruptions_fixed,
        .leaks_fixed = check->result.leaks_fixed,
    };

    int r = check_init_counts(check, err);

    if (r < 0)
        return r;
    check->mode = CHECK_SURVEY;
    check->in_first_walk = true;
    check->result = fresh;
    check->faults = 0;
    check->mismatches = 0;
    check->owners.count = 0;
    check->owners.more = false;
    check->overlaps = 0;
    check->blind = false;
    check->hidden = false;
    check->broken = false;
    check->missing = false;
    check->incomplete = false;
    check->bitmaps_lost = false;
    check->cut_off = false;
    return check_counts(check, err);
}

/* A file that is long enough again is another file: all is looked at anew. */
static int lengthen(struct check *check, struct byre_error *err)
{
    const struct check_place place = {
        .object = "file",
        .host_offset = check->file_clusters * check->cluster_bytes,
        .guest_offset = BYRE_NO_OFFSET,
    };
    bool done = false;
    int r;

    if (!check_repairs_all(check) || !check->cut_off)
        return BYRE_OK;
    r = check_lengthen(check, &done, err);
    if (r < 0 || !done)
        return r;

    r = check_measure_file(check, err);
    if (r == BYRE_OK)
        r = survey(check, err);
    if (r == BYRE_OK)
        check_found(check, BYRE_FINDING_CORRUPTION, true, &place,
                    "the file ends at %llu, before what its refcounts say is "
                    "in use",
                    (unsigned long long)place.host_offset);
    return r;
}

/* Bitmaps that nobody can read keep all else from being known. */
static int shorten_bitmaps(struct check *check, struct byre_error *err)
{
    int r;

    if (!check_repairs_all(check) || !check->bitmaps_lost)
        return BYRE_OK;
    r = check_shorten_bitmaps(check, err);
    return r < 0 ? r : survey(check, err);
}

/* ---- Refcounts ---- */

static int replace_refcounts(struct check *check, struct byre_error *err)
{
    int r;

    reference_counts_done(&check->counts);
    r = qcow2_replace_refcounts(check->qcow2, check->memory_bytes, err);
    if (r < 0)
        return r;
    /* The table is another one. */
    stored_counts_done(&check->stored);
    check->broken = false;
    return stored_counts_init(&check->stored, check->qcow2, err);
}

/* What refers to clusters without being seen must not lose them. */
static bool must_replace(const struct check *check)
{
    return (check->broken || check->missing) && check_repairs_all(check) &&
           !check->blind;
}

static int mend_counts(struct check *check, struct byre_error *err)
{
    const bool replace = must_replace(check);
    int r;

    if (check->mismatches == 0 && check->faults == 0 && !replace)
        return BYRE_OK;
    check->mode = replace ? CHECK_REPLACING : CHECK_MEND;
    check->in_first_walk = replace;
    check->mismatches = 0;
    r = check_counts(check, err);
    if (r == BYRE_OK && replace)
        r = replace_refcounts(check, err);
    if (r < 0)
        return r;
    return store_flush(check->qcow2->store, err);
}

/* ---- Flags ---- */

/* They follow from the refcounts, so these must be right. */
static bool may_correct_flags(const struct check *check)
{
    if (check->broken || check->owners.more)
        return false;
    return check_repairs_all(check) ||
           (check->faults == 0 && check->owners.count == 0 &&
            check->result.corruptions == 0 && check->result.leaks == 0 &&
            check->result.check_errors == 0);
}

static int mend_flags(struct check *check, struct byre_error *err)
{
    int r;

    if (!may_correct_flags(check))
        return BYRE_OK;
    r = check_flags(check, true, err);
    if (r < 0)
        return r;
    return store_flush(check->qcow2->store, err);
}

/* ---- Structures ---- */

/* What was replaced is a leak now, and what is single may be written. */
static int tidy(struct check *check, struct byre_error *err)
{
    int r;

    check->quiet = true;
    check->mode = CHECK_MEND;
    r = check_init_counts(check, err);
    if (r == BYRE_OK)
        r = check_counts(check, err);
    if (r == BYRE_OK)
        r = store_flush(check->qcow2->store, err);
    if (r == BYRE_OK)
        r = check_flags(check, true, err);
    if (r == BYRE_OK)
        r = store_flush(check->qcow2->store, err);
    check->quiet = false;
    return r;
}

/* Data of LUKS images is bound to its place. */
static bool may_part_data(const struct check *check)
{
    return check->owners.count > 0 && !check->owners.more &&
           check->qcow2->engine.encryption != BYRE_ENCRYPTION_LUKS &&
           !check->qcow2->engine.needs_data_file;
}

static int mend_structures(struct check *check, struct byre_error *err)
{
    int r = BYRE_OK;

    if (!check_repairs_all(check) || check->blind || check->broken ||
        (!check->incomplete && !may_part_data(check)))
        return BYRE_OK;
    if (check->incomplete)
        r = check_complete_snapshots(check, err);
    if (r == BYRE_OK && may_part_data(check))
        r = check_part_data(check, err);
    /* Without room it stays as it is, and is found again. */
    if (r < 0 && r != BYRE_E_LIMIT)
        return r;
    return tidy(check, err);
}

/* ---- All of it ---- */

static int mend_once(struct check *check, struct byre_error *err)
{
    int r;

    r = survey(check, err);
    if (r == BYRE_OK)
        r = lengthen(check, err);
    if (r == BYRE_OK)
        r = shorten_bitmaps(check, err);
    if (r == BYRE_OK && check->faults > 0 && check_repairs_all(check))
        r = check_entries(check, err);
    if (r == BYRE_OK)
        r = mend_counts(check, err);
    if (r == BYRE_OK)
        r = mend_flags(check, err);
    if (r == BYRE_OK)
        r = mend_structures(check, err);
    if (r == BYRE_OK)
        r = check_owners_report(check, err);
    return r;
}

static uint64_t fixed(const struct check *check)
{
    return check->result.corruptions_fixed + check->result.leaks_fixed;
}

/* What shares its cluster with a table that was mended may be mended then. */
#define MOST_ROUNDS 4

int check_mend(struct check *check, struct byre_error *err)
{
    uint64_t before;
    int r;

    r = clear_unknown_autoclear(check->qcow2, err);
    for (int round = 0; r == BYRE_OK && round < MOST_ROUNDS; round++) {
        before = fixed(check);
        r = mend_once(check, err);
        if (fixed(check) == before ||
            (check->faults == 0 && check->overlaps == 0))
            break;
    }
    return r;
}
