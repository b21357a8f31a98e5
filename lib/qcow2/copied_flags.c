/* SPDX-License-Identifier: MIT */
/*
 * One bit a cluster, "its count is 1", for a window of host clusters; a file
 * larger than the window takes several walks through the active tree.
 */
#include "qcow2/copied_flags.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/references.h"
#include "qcow2/sector_edits.h"

#define NO_CLUSTER UINT64_MAX

#define LEAST_WINDOW_BYTES 4096
#define PIECE_ENTRIES      512

struct correction {
    struct qcow2 *qcow2;
    uint64_t per_block;   /* counts in a block */
    uint64_t table_bytes; /* the refcount table's, as far as it is used */

    uint8_t *single; /* a bit a cluster of the window */
    uint64_t window_clusters;
    uint64_t first;
    uint64_t
        next; /* the first cluster behind it with an entry, or NO_CLUSTER */

    uint8_t *block;
    uint8_t piece[PIECE_ENTRIES * 8]; /* of the refcount table */

    struct sector_edits edits;
};

/* ---- The window ---- */

/* Takes the counts of block `index` over, as far as they are in the window. */
static int load_block(struct correction *c, uint64_t index, uint64_t raw,
                      struct byre_error *err)
{
    const struct qcow2_header *header = &c->qcow2->header;
    const uint64_t base = index * c->per_block;
    const uint64_t from = max_u64(base, c->first);
    const uint64_t to =
        min_u64(base + c->per_block, c->first + c->window_clusters);
    uint64_t offset;
    int r;

    if (!refcount_table_entry_decode(raw, header->cluster_bits, &offset))
        return fail_at(err, BYRE_E_CORRUPT,
                       header->refcount_table_offset + index * 8,
                       "refcount table entry %" PRIu64 " is 0x%" PRIx64
                       ", which is no place for a block; run check on the "
                       "image",
                       index, raw);
    if (offset == 0)
        return BYRE_OK;
    r = store_read(c->qcow2->store, offset, c->block,
                   (size_t)qcow2_cluster_bytes(header), err);
    if (r < 0)
        return r;

    for (uint64_t cluster = from; cluster < to; cluster++) {
        const uint64_t bit = cluster - c->first;

        if (refcount_get(c->block, cluster - base, header->refcount_order) == 1)
            c->single[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
    return BYRE_OK;
}

/* Loads the blocks from `index` to `end` that one piece of the table names. */
static int load_piece(struct correction *c, uint64_t index, uint64_t count,
                      struct byre_error *err)
{
    const uint64_t at = c->qcow2->header.refcount_table_offset + index * 8;
    int r;

    r = store_read(c->qcow2->store, at, c->piece, (size_t)count * 8, err);
    for (uint64_t i = 0; r == BYRE_OK && i < count; i++) {
        const uint64_t raw = be64_get(c->piece + i * 8);

        if (raw != 0)
            r = load_block(c, index + i, raw, err);
    }
    return r;
}

static int load_window(struct correction *c, uint64_t first,
                       struct byre_error *err)
{
    const uint64_t end =
        min_u64(div_round_up(first + c->window_clusters, c->per_block),
                c->table_bytes / 8);
    int r;

    c->first = first;
    memset(c->single, 0, (size_t)(c->window_clusters / 8));
    for (uint64_t index = first / c->per_block; index < end;
         index += PIECE_ENTRIES) {
        r = load_piece(c, index, min_u64(end - index, PIECE_ENTRIES), err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* ---- Flags ---- */

static int change_entry(struct correction *c, uint64_t offset, uint64_t raw,
                        struct byre_error *err)
{
    uint8_t bytes[8];

    be64_put(bytes, raw);
    return sector_edits_put(&c->edits, offset, bytes, sizeof(bytes), err);
}

/* Whether the flag of a cluster can be told now, and what it should be. */
static bool decide_by_count(struct correction *c, const struct reference *ref,
                            bool *ret_copied)
{
    const uint32_t nowhere =
        REFERENCE_UNALIGNED | REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;
    const uint64_t cluster = ref->offset >> c->qcow2->header.cluster_bits;
    const uint64_t end = c->first + c->window_clusters;

    if ((ref->faults & nowhere) != 0 || cluster < c->first)
        return false;
    if (cluster >= end) {
        c->next = min_u64(c->next, cluster);
        return false;
    }
    *ret_copied =
        (c->single[(cluster - c->first) / 8] >> (cluster - c->first) % 8 & 1) !=
        0;
    return true;
}

static bool decide(struct correction *c, const struct reference *ref,
                   bool *ret_copied)
{
    switch (ref->owner) {
    case REFERENCE_L2_TABLE:
    case REFERENCE_DATA:
        return decide_by_count(c, ref, ret_copied);
    case REFERENCE_EXTERNAL_DATA:
        *ret_copied = true;
        return true;
    case REFERENCE_COMPRESSED:
    case REFERENCE_NOTHING:
        *ret_copied = false;
        return true;
    default: /* no entry with the flag */
        return false;
    }
}

static int correct(void *user, const struct reference *ref,
                   struct byre_error *err)
{
    struct correction *c = user;
    const bool in_l1 = ref->table_offset == c->qcow2->header.l1_offset;
    const uint64_t entry_bytes =
        in_l1 ? 8 : UINT64_C(8) * c->qcow2->entry_words;
    bool copied = false;

    if (!decide(c, ref, &copied) || copied == ref->copied)
        return BYRE_OK;
    return change_entry(c, ref->table_offset + ref->index * entry_bytes,
                        ref->raw ^ QCOW2_ENTRY_COPIED, err);
}

static int correct_window(struct correction *c, uint64_t first,
                          struct byre_error *err)
{
    int r;

    r = load_window(c, first, err);
    if (r < 0)
        return r;

    sector_edits_init(&c->edits, c->qcow2->store);
    c->next = NO_CLUSTER;
    r = references_walk(c->qcow2, REFERENCES_ACTIVE | REFERENCES_EXTERNAL,
                        correct, c, err);
    return r < 0 ? r : sector_edits_write(&c->edits, err);
}

/* Windows where nothing is are left out. */
static int correct_all(struct correction *c, struct byre_error *err)
{
    int r;

    for (uint64_t first = 0; first != NO_CLUSTER; first = c->next) {
        r = correct_window(c, first, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int correction_init(struct correction *c, struct qcow2 *qcow2,
                           uint64_t budget_bytes, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    const uint64_t cluster_bytes = qcow2_cluster_bytes(header);
    uint64_t file_bytes, window_bytes;
    int r;

    r = store_get_size(qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;

    window_bytes = min_u64(max_u64(budget_bytes, LEAST_WINDOW_BYTES),
                           file_bytes / cluster_bytes / 8 + 1);
    c->qcow2 = qcow2;
    c->per_block =
        refcounts_per_block(header->cluster_bits, header->refcount_order);
    c->table_bytes = header->refcount_table_clusters * cluster_bytes;
    c->window_clusters = window_bytes * 8;
    c->single = malloc((size_t)window_bytes);
    c->block = malloc((size_t)cluster_bytes);
    if (c->single == NULL || c->block == NULL)
        return fail_nomem(err, "the correction of flags",
                          (size_t)(window_bytes + cluster_bytes));
    return BYRE_OK;
}

int copied_flags_correct(struct qcow2 *qcow2, uint64_t budget_bytes,
                         struct byre_error *err)
{
    struct correction *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return fail_nomem(err, "the correction of flags", sizeof(*c));

    r = correction_init(c, qcow2, budget_bytes, err);
    if (r == BYRE_OK)
        r = correct_all(c, err);
    free(c->single);
    free(c->block);
    free(c);
    return r;
}
