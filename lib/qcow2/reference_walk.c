/* SPDX-License-Identifier: MIT */
#include "qcow2/reference_walk.h"

#include <string.h>

#include "base/arith.h"

/* ---- One reference ---- */

uint32_t reference_place_faults(const struct reference_walk *walk,
                                uint64_t offset, uint64_t bytes)
{
    if (!range_within(offset, bytes, STORE_MAX_OFFSET))
        return REFERENCE_BEYOND_LIMIT;
    /* Files end in the middle of their last cluster. */
    if (offset + bytes > walk->file_bytes &&
        offset + bytes - walk->file_bytes >= walk->cluster_bytes)
        return REFERENCE_BEYOND_FILE;
    return 0;
}

static bool is_wanted(const struct reference_walk *walk,
                      const struct reference *ref)
{
    if (ref->owner == REFERENCE_NOTHING)
        return ref->faults != 0 ||
               ((walk->what & REFERENCES_ZEROES) != 0 && ref->kind == L2_ZERO);
    if (ref->owner != REFERENCE_EXTERNAL_DATA)
        return true;
    return (walk->what & REFERENCES_EXTERNAL) != 0 ||
           (ref->faults & ~REFERENCE_MISPLACED) != 0;
}

int reference_show(const struct reference_walk *walk, struct reference *ref,
                   struct byre_error *err)
{
    if (ref->bytes > 0 && ref->owner != REFERENCE_EXTERNAL_DATA)
        ref->faults |= reference_place_faults(walk, ref->offset, ref->bytes);
    return is_wanted(walk, ref) ? walk->visit(walk->user, ref, err) : BYRE_OK;
}

int reference_show_table(const struct reference_walk *walk,
                         enum reference_owner owner, uint64_t offset,
                         uint64_t bytes, uint32_t faults,
                         struct byre_error *err)
{
    struct reference ref = {
        .owner = owner,
        .faults = faults,
        .offset = offset,
        .bytes = bytes,
        .table_offset = BYRE_NO_OFFSET,
        .snapshot = REFERENCE_NO_SNAPSHOT,
        .guest_offset = BYRE_NO_OFFSET,
    };

    return reference_show(walk, &ref, err);
}

/* ---- Tables in pieces ---- */

static bool is_zero_entry(const uint8_t *entry, uint32_t words)
{
    uint64_t all = 0, word;

    for (uint32_t i = 0; i < words; i++) {
        memcpy(&word, entry + i * 8, sizeof(word));
        all |= word;
    }
    return all == 0;
}

int reference_walk_piece(struct reference_walk *walk,
                         const struct reference *table, const uint8_t *piece,
                         uint64_t first, uint64_t count, uint32_t words,
                         reference_entry_visit *each, struct byre_error *err)
{
    const size_t entry_bytes = (size_t)words * 8;

    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *entry = piece + i * entry_bytes;

        if (!is_zero_entry(entry, words)) {
            const int r = each(walk, table, first + i, entry, err);

            if (r < 0)
                return r;
        }
    }
    return BYRE_OK;
}

int reference_walk_entries(struct reference_walk *walk,
                           const struct reference *table,
                           enum reference_level level, uint32_t words,
                           reference_entry_visit *each, struct byre_error *err)
{
    const uint64_t entry_bytes = UINT64_C(8) * words;
    const uint64_t in_file =
        table->offset < walk->file_bytes
            ? align_up(walk->file_bytes - table->offset, entry_bytes)
            : 0;
    const uint64_t length = min_u64(table->bytes, in_file);
    int r;

    for (uint64_t at = 0; at < length; at += REFERENCE_PIECE_BYTES) {
        const uint64_t bytes = min_u64(length - at, REFERENCE_PIECE_BYTES);

        r = store_read(walk->qcow2->store, table->offset + at,
                       walk->pieces[level], (size_t)bytes, err);
        if (r < 0)
            return r;

        r = reference_walk_piece(walk, table, walk->pieces[level],
                                 at / entry_bytes, bytes / entry_bytes, words,
                                 each, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

bool reference_can_walk(const struct reference *table)
{
    return (table->faults & (REFERENCE_UNALIGNED | REFERENCE_BEYOND_LIMIT |
                             REFERENCE_DAMAGED)) == 0;
}
