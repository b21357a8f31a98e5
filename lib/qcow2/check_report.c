/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "qcow2/check.h"

static void count(struct byre_check_result *result, uint32_t kind,
                  bool repaired)
{
    switch (kind) {
    case BYRE_FINDING_CORRUPTION:
        *(repaired ? &result->corruptions_fixed : &result->corruptions) += 1;
        break;
    case BYRE_FINDING_LEAK:
        *(repaired ? &result->leaks_fixed : &result->leaks) += 1;
        break;
    default:
        result->check_errors++;
        break;
    }
}

void check_found(struct check *check, uint32_t kind, bool repaired,
                 const struct check_place *place, const char *format, ...)
{
    char text[BYRE_ERROR_MESSAGE_SIZE];
    const struct byre_finding finding = {
        .size = sizeof(finding),
        .kind = kind,
        .repaired = repaired,
        .object = place->object,
        .host_offset = place->host_offset,
        .guest_offset = place->guest_offset,
        .text = text,
    };
    va_list args;

    if (check->quiet)
        return;
    count(&check->result, kind, repaired);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    check->sink->found(check->sink->user, &finding);
}

void check_found_fault(struct check *check, const struct reference *ref,
                       uint32_t fault, bool repaired)
{
    const bool undecodable = fault == REFERENCE_DAMAGED &&
                             ref->owner != REFERENCE_L1_TABLE &&
                             ref->owner != REFERENCE_REFCOUNT_TABLE;
    const struct check_place place = {
        .object = reference_owner_name(ref->owner),
        .host_offset = ref->table_offset == BYRE_NO_OFFSET ? ref->offset
                                                           : ref->table_offset,
        .guest_offset = ref->guest_offset,
    };
    char what[REFERENCE_TEXT_BYTES];

    reference_describe(ref, what, sizeof(what));
    check_found(check,
                undecodable ? BYRE_FINDING_ERROR : BYRE_FINDING_CORRUPTION,
                repaired, &place, "%s %s", what, reference_fault_text(fault));
}
