/* SPDX-License-Identifier: MIT */
/*
 * Counts as they should be, and clusters that get another reference.
 */
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/compact_parts.h"

#define RUN_CHECK "run check on the image"

/* ---- What is in use ---- */

static bool moves_alone(enum reference_owner owner)
{
    return owner == REFERENCE_DATA || owner == REFERENCE_COMPRESSED ||
           owner == REFERENCE_L2_TABLE || owner == REFERENCE_REFCOUNT_BLOCK;
}

static void mark_used(struct compact *c, const struct reference *ref)
{
    const uint64_t end = min_u64(
        div_round_up(ref->offset + ref->bytes, c->cluster_bytes), c->clusters);

    for (uint64_t i = ref->offset >> c->cluster_bits; i < end; i++) {
        const uint8_t bit = (uint8_t)(1u << i % 8);

        c->used[i / 8] |= bit;
        if (!moves_alone(ref->owner))
            c->fixed[i / 8] |= bit;
    }
}

static int count_reference(void *user, const struct reference *ref,
                           struct byre_error *err)
{
    const uint32_t faults = reference_grave_faults(ref);
    char what[REFERENCE_TEXT_BYTES];
    struct compact *c = user;
    uint64_t cluster;

    if (faults != 0) {
        reference_describe(ref, what, sizeof(what));
        return fail_at(err, BYRE_E_CORRUPT,
                       ref->table_offset != BYRE_NO_OFFSET ? ref->table_offset
                                                           : ref->offset,
                       "%s %s; " RUN_CHECK, what, reference_fault_text(faults));
    }
    if (!reference_counts_add(&c->counts, ref, &cluster))
        return fail_at(err, BYRE_E_CORRUPT, ref->offset,
                       "the %s at %" PRIu64 " shares the cluster at %" PRIu64
                       " with another structure; " RUN_CHECK,
                       reference_owner_name(ref->owner), ref->offset,
                       cluster * c->cluster_bytes);
    mark_used(c, ref);
    return BYRE_OK;
}

/* ---- Lowering ---- */

static uint64_t expected(const struct compact *c, uint64_t cluster)
{
    const uint64_t place = cluster - c->counts.first;

    return cluster >= c->counts.first && place < c->counts.clusters
               ? reference_counts_get(&c->counts, place)
               : 0;
}

static int fail_low(const struct compact *c, uint64_t cluster, uint64_t count,
                    struct byre_error *err)
{
    return fail_at(err, BYRE_E_CORRUPT, cluster * c->cluster_bytes,
                   "refcount of the cluster at %" PRIu64 " is %" PRIu64
                   ", but %" PRIu64 " entries refer to it; " RUN_CHECK,
                   cluster * c->cluster_bytes, count, expected(c, cluster));
}

/* The counts of [from, to) in block `index`. */
static int settle_block(struct compact *c, uint64_t index, uint64_t from,
                        uint64_t to, struct byre_error *err)
{
    const uint32_t order = c->qcow2->header.refcount_order;
    bool changed = false;
    int r;

    r = store_read(c->qcow2->store, c->table[index], c->block,
                   (size_t)c->cluster_bytes, err);
    if (r < 0)
        return r;

    for (uint64_t i = from; i < to; i++) {
        const uint64_t place = i % c->per_block, want = expected(c, i);
        const uint64_t count = refcount_get(c->block, place, order);

        if (count == want)
            continue;
        if (count < want)
            return fail_low(c, i, count, err);
        refcount_put(c->block, place, order, want);
        c->result.freed_clusters += want == 0 && c->frees;
        changed = true;
    }
    return changed ? compact_write(c, c->table[index], c->block,
                                   (size_t)c->cluster_bytes, err)
                   : BYRE_OK;
}

/* Clusters that no block counts; tables leave room for many more of them than
   there are. */
static int check_uncounted(const struct compact *c, uint64_t from, uint64_t to,
                           struct byre_error *err)
{
    to = min_u64(to, c->counts.first + c->counts.clusters);
    for (uint64_t i = max_u64(from, c->counts.first); i < to; i++)
        if (expected(c, i) > 0)
            return fail_low(c, i, 0, err);
    return BYRE_OK;
}

static int settle_range(struct compact *c, uint64_t from, uint64_t to,
                        struct byre_error *err)
{
    int r = BYRE_OK;

    while (from < to && r == BYRE_OK) {
        const uint64_t index = from / c->per_block;
        const uint64_t end = min_u64(to, (index + 1) * c->per_block);

        if (index < c->table_entries && c->table[index] != 0)
            r = settle_block(c, index, from, end, err);
        else
            r = check_uncounted(c, from, end, err);
        from = end;
    }
    return r;
}

/* The counts of a window from `first` on. */
static int count_window(struct compact *c, uint64_t first,
                        struct byre_error *err)
{
    int r;

    do {
        reference_counts_start(&c->counts, first);
        r = references_walk(c->qcow2, REFERENCES_ALL, count_reference, c, err);
        if (r == BYRE_OK)
            r = reference_counts_widen(&c->counts, err);
    } while (r > 0);
    return r;
}

/* All counts, in windows; between two of them nothing is in use. */
static int settle_all(struct compact *c, struct byre_error *err)
{
    const uint64_t end = c->table_entries * c->per_block;
    uint64_t done = 0;

    for (uint64_t first = 0; first != REFERENCE_COUNTS_END;
         first = c->counts.next) {
        int r;

        r = count_window(c, first, err);
        if (r == BYRE_OK)
            r = settle_range(c, done, min_u64(first, end), err);
        done = first + c->counts.clusters;
        if (r == BYRE_OK)
            r = settle_range(c, first,
                             min_u64(done, max_u64(c->counts.end, end)), err);
        if (r < 0)
            return r;
    }
    c->used_end = c->counts.end;
    return settle_range(c, done, end, err);
}

int compact_settle(struct compact *c, struct byre_error *err)
{
    int r;

    memset(c->used, 0, (size_t)(c->clusters / 8 + 1));
    memset(c->fixed, 0, (size_t)(c->clusters / 8 + 1));
    r = settle_all(c, err);
    return r < 0 ? r : compact_barrier(c, err);
}

/* ---- Raising ---- */

static int raise_one(struct compact *c, uint64_t cluster, uint64_t refs,
                     struct byre_error *err)
{
    const uint32_t order = c->qcow2->header.refcount_order;
    const uint64_t per_sector = (EDIT_SECTOR_BYTES * 8) >> order;
    const uint64_t place = cluster % c->per_block;
    uint8_t *sector;
    int r;

    r = sector_edits_at(&c->edits,
                        c->table[cluster / c->per_block] +
                            place / per_sector * EDIT_SECTOR_BYTES,
                        &sector, err);
    if (r < 0)
        return r;
    refcount_put(sector, place % per_sector, order,
                 refcount_get(sector, place % per_sector, order) + refs);
    return BYRE_OK;
}

int compact_raise(struct compact *c, uint64_t offset, uint64_t bytes,
                  uint64_t refs, struct byre_error *err)
{
    const uint64_t end = div_round_up(offset + bytes, c->cluster_bytes);
    int r = BYRE_OK;

    for (uint64_t i = offset >> c->cluster_bits; i < end && r == BYRE_OK; i++)
        r = raise_one(c, i, refs, err);
    return r;
}
