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
#include "qcow2/stored_counts.h"

/* What is atomic when a write is torn: a flag never drags others along. */
#define SECTOR_BYTES UINT64_C(512)
#define NO_SECTOR    UINT64_MAX
#define NO_CLUSTER   UINT64_MAX

#define LEAST_WINDOW_BYTES 4096

struct correction {
    struct qcow2 *qcow2;
    const struct copied_flags_ops *ops;
    void *user;

    struct stored_counts stored;
    uint8_t *single; /* a bit a cluster of the window */
    uint64_t window_clusters;
    uint64_t first;
    uint64_t
        next; /* the first cluster behind it with an entry, or NO_CLUSTER */

    uint64_t sector; /* the one that is being changed, or NO_SECTOR */
    uint8_t sector_bytes[SECTOR_BYTES];
};

/* ---- The window ---- */

/* Takes the counts of block `index` over, as far as they are in the window. */
static void take_block(struct correction *c, uint64_t index)
{
    const uint64_t base = index * c->stored.per_block;
    const uint64_t from = max_u64(base, c->first);
    const uint64_t to =
        min_u64(base + c->stored.per_block, c->first + c->window_clusters);

    for (uint64_t cluster = from; cluster < to; cluster++) {
        const uint64_t bit = cluster - c->first;

        if (stored_counts_get(&c->stored, cluster - base) == 1)
            c->single[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
}

static int load_window(struct correction *c, uint64_t first,
                       struct byre_error *err)
{
    const uint64_t end =
        min_u64(div_round_up(first + c->window_clusters, c->stored.per_block),
                c->stored.table_entries);
    int r;

    c->first = first;
    memset(c->single, 0, (size_t)(c->window_clusters / 8));
    for (uint64_t index = first / c->stored.per_block; index < end; index++) {
        r = stored_counts_load(&c->stored, index, err);
        if (r < 0)
            return r;
        if (c->stored.state == STORED_DAMAGED && c->ops == NULL)
            return fail_at(err, BYRE_E_CORRUPT,
                           c->qcow2->header.refcount_table_offset + index * 8,
                           "refcount table entry %" PRIu64 " is 0x%" PRIx64
                           ", which is no place for a block; run check on the "
                           "image",
                           index, c->stored.raw);
        if (c->stored.state == STORED_BLOCK)
            take_block(c, index);
    }
    return BYRE_OK;
}

/* ---- Flags ---- */

static int write_sector(struct correction *c, struct byre_error *err)
{
    const uint64_t sector = c->sector;

    c->sector = NO_SECTOR;
    if (sector == NO_SECTOR)
        return BYRE_OK;
    return store_write(c->qcow2->store, sector, c->sector_bytes,
                       sizeof(c->sector_bytes), err);
}

/* Entries come in the order of their table, so a sector is held until the
   first change outside of it. */
static int change_entry(struct correction *c, uint64_t offset, uint64_t raw,
                        struct byre_error *err)
{
    const uint64_t sector = align_down(offset, SECTOR_BYTES);
    int r;

    if (sector != c->sector) {
        r = write_sector(c, err);
        if (r < 0)
            return r;

        r = store_read(c->qcow2->store, sector, c->sector_bytes,
                       sizeof(c->sector_bytes), err);
        if (r < 0)
            return r;
        c->sector = sector;
    }
    be64_put(c->sector_bytes + (offset - sector), raw);
    return BYRE_OK;
}

/* Of what lies past the end of the file: each count by itself, once. */
static bool decide_far(struct correction *c, uint64_t cluster, bool *ret_copied)
{
    uint64_t count = 0;
    bool known = false;

    if (c->first != 0 ||
        stored_counts_peek(&c->stored, cluster, &known, &count, NULL) < 0)
        return false;
    *ret_copied = count == 1;
    return known;
}

/* Whether the flag of a cluster can be told now, and what it should be. */
static bool decide_by_count(struct correction *c, const struct reference *ref,
                            bool *ret_copied)
{
    const uint32_t beyond = REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;
    const uint32_t nowhere = beyond | REFERENCE_UNALIGNED;
    const uint64_t cluster = ref->offset >> c->qcow2->header.cluster_bits;
    const uint64_t end = c->first + c->window_clusters;

    if (c->ops == NULL && (ref->faults & nowhere) != 0)
        return false;
    if ((ref->faults & beyond) != 0)
        return decide_far(c, cluster, ret_copied);
    if (cluster < c->first)
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
    const uint64_t entry_bytes =
        ref->in_l1 ? 8 : UINT64_C(8) * c->qcow2->entry_words;
    bool copied = false;
    int r;

    if (c->ops != NULL && c->ops->leaves_out(c->user, ref))
        return 1;
    if (!decide(c, ref, &copied) || copied == ref->copied)
        return BYRE_OK;
    r = c->ops != NULL ? c->ops->wrong(c->user, ref, err) : 1;
    if (r <= 0)
        return r;
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

    c->sector = NO_SECTOR;
    c->next = NO_CLUSTER;
    r = references_walk(c->qcow2, REFERENCES_ACTIVE | REFERENCES_EXTERNAL,
                        correct, c, err);
    return r < 0 ? r : write_sector(c, err);
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
    const uint64_t cluster_bytes = qcow2_cluster_bytes(&qcow2->header);
    uint64_t file_bytes, window_bytes;
    int r;

    r = store_get_size(qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;

    window_bytes = min_u64(max_u64(budget_bytes, LEAST_WINDOW_BYTES),
                           file_bytes / cluster_bytes / 8 + 1);
    c->qcow2 = qcow2;
    c->window_clusters = window_bytes * 8;
    c->single = malloc((size_t)window_bytes);
    if (c->single == NULL)
        return fail_nomem(err, "the correction of flags", (size_t)window_bytes);
    return stored_counts_init(&c->stored, qcow2, err);
}

int copied_flags_walk(struct qcow2 *qcow2, uint64_t budget_bytes,
                      const struct copied_flags_ops *ops, void *user,
                      struct byre_error *err)
{
    struct correction *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return fail_nomem(err, "the correction of flags", sizeof(*c));

    c->ops = ops;
    c->user = user;
    r = correction_init(c, qcow2, budget_bytes, err);
    if (r == BYRE_OK)
        r = correct_all(c, err);
    free(c->single);
    stored_counts_done(&c->stored);
    free(c);
    return r;
}

int copied_flags_correct(struct qcow2 *qcow2, uint64_t budget_bytes,
                         struct byre_error *err)
{
    return copied_flags_walk(qcow2, budget_bytes, NULL, NULL, err);
}
