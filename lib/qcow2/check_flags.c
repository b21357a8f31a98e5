/* SPDX-License-Identifier: MIT */
/*
 * The COPIED flags of the active tree, held against the refcounts in the file.
 */
#include <inttypes.h>

#include "qcow2/check.h"
#include "qcow2/copied_flags.h"

struct flags_check {
    struct check *check;
    bool correct;
};

/* Flags that nothing can have are faults of the entry, and found as such; of a
   refcount that cannot be read nothing can be said. */
static int get_count(struct check *check, const struct reference *ref,
                     bool *ret_known, uint64_t *ret_count,
                     struct byre_error *err)
{
    *ret_known = ref->owner == REFERENCE_EXTERNAL_DATA;
    *ret_count = 1;
    if (ref->owner != REFERENCE_L2_TABLE && ref->owner != REFERENCE_DATA)
        return BYRE_OK;
    return stored_counts_peek(&check->stored,
                              ref->offset / check->cluster_bytes, ret_known,
                              ret_count, err);
}

/* What something else uses too must not be written as a table; a table whose
   own refcount cannot be read is left out whole, as QEMU does. */
static int leaves_out(void *user, const struct reference *ref,
                      struct byre_error *err)
{
    const struct flags_check *flags = user;
    struct check *check = flags->check;
    uint64_t count;
    bool known;
    int r;

    if (ref->owner != REFERENCE_L1_TABLE && ref->owner != REFERENCE_L2_TABLE)
        return 0;
    if (flags->correct && !check_may_write_table(check, ref))
        return 1;
    if (ref->owner == REFERENCE_L1_TABLE)
        return 0;
    r = get_count(check, ref, &known, &count, err);
    return r < 0 ? r : !known;
}

static int wrong(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    const struct flags_check *flags = user;
    struct check *check = flags->check;
    const struct check_place place = {
        .object = reference_owner_name(ref->owner),
        .host_offset = ref->table_offset,
        .guest_offset = ref->guest_offset,
    };
    char what[REFERENCE_TEXT_BYTES];
    uint64_t count;
    bool known;
    int r;

    r = get_count(check, ref, &known, &count, err);
    if (r < 0 || !known)
        return r;
    reference_describe(ref, what, sizeof(what));
    check_found(check, BYRE_FINDING_CORRUPTION, flags->correct, &place,
                "%s %s, but its refcount is %" PRIu64, what,
                ref->copied ? "has the COPIED flag" : "lacks the COPIED flag",
                count);
    return flags->correct;
}

int check_flags(struct check *check, bool correct, struct byre_error *err)
{
    static const struct copied_flags_ops ops = {
        .leaves_out = leaves_out,
        .wrong = wrong,
    };
    struct flags_check flags = { .check = check, .correct = correct };

    return copied_flags_walk(check->qcow2, check_flag_bytes(check), &ops,
                             &flags, err);
}
