/* SPDX-License-Identifier: MIT */
/*
 * New refcount blocks, and a larger table when the entries run out.
 *
 * A new block lies in the first free cluster.  If no block counts that one yet,
 * the new block is the one that does, and counts itself; then there may be
 * another to make.  Its cluster is written whole, since it may hold stale
 * bytes, and is used in memory from then on; the table entry is pending.
 *
 * A larger table lies behind all that the old one could count, together with
 * the blocks that count its area:
 *
 *     ... all that is used | blocks | new table | free ...
 *
 * Only the blocks are written at once.  The table is used in memory, and is
 * written whole by the next flush, so that entries that were pending for the
 * old one come with it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/allocator_internal.h"

/* ---- One block ---- */

/* Where the next block goes. */
struct placing {
    uint64_t cursor; /* nothing before it may be taken */
    uint64_t index;  /* of the block */
    uint64_t cluster;
};

static int check_place(struct allocator *a, uint64_t cluster,
                       struct byre_error *err)
{
    int r;

    if (cluster >= a->end_cluster)
        return allocator_fail_full(a, err);
    r = metadata_add(a->metadata, METADATA_REFCOUNT_BLOCK,
                     cluster << a->cluster_bits, allocator_cluster_bytes(a),
                     allocator_cluster_bytes(a), err);
    if (r < 0)
        error_prefix(err, "refcounts count a cluster as free");
    return r;
}

/* Takes the first free cluster for the block; one without a block is its own.
 */
static int place_step(struct allocator *a, void *state, struct need *ret_need,
                      struct byre_error *err)
{
    struct placing *placing = state;
    const uint64_t wanted_first = placing->index << a->block_bits;
    struct refcount_slice *slice;
    int r;

    for (;;) {
        const enum slice_state found =
            refcount_slice_find(a, placing->cursor, &slice);

        if (found == SLICE_MISSING) {
            *ret_need = (struct need){ .cluster = placing->cursor };
            return 1;
        }
        if (found == SLICE_NO_BLOCK)
            break;
        placing->cursor = slice_next_free(a, slice, placing->cursor);
        if (placing->cursor < slice_end(a, slice))
            break;
    }

    /* The wanted block has room for itself at the latest. */
    placing->cluster = placing->cursor >> a->block_bits < a->table_entries
                           ? placing->cursor
                           : wanted_first;
    r = check_place(a, placing->cluster, err);
    if (r < 0)
        return r;
    if (refcount_slice_find(a, placing->cluster, &slice) == SLICE_HERE)
        slice_put(a, slice, placing->cluster, 1);
    else
        placing->index = placing->cluster >> a->block_bits;
    allocator_note_used(a, placing->cluster, 1);
    return BYRE_OK;
}

/* Writes the block `index` with the clusters [from, to) counted. */
static int write_block(struct allocator *a, uint64_t host_offset,
                       uint64_t index, uint64_t from, uint64_t to,
                       struct byre_error *err)
{
    const size_t bytes = (size_t)allocator_cluster_bytes(a);
    const uint64_t first = index << a->block_bits;
    const uint64_t end = min_u64(to, (index + 1) << a->block_bits);
    uint8_t *block = calloc(1, bytes);
    int r;

    if (block == NULL)
        return fail_nomem(err, "a refcount block", bytes);
    for (uint64_t cluster = max_u64(from, first); cluster < end; cluster++)
        refcount_put(block, cluster - first, a->refcount_order, 1);
    r = store_write(a->store, host_offset, block, bytes, err);
    if (r < 0)
        error_prefix(err, "refcount block");
    free(block);
    return r;
}

static int reserve_pending(struct allocator *a, struct byre_error *err)
{
    const size_t capacity = a->pending_capacity * 2 + 8;
    uint64_t *pending;

    if (a->pending_count < a->pending_capacity)
        return BYRE_OK;
    pending = realloc(a->pending, capacity * sizeof(*pending));
    if (pending == NULL)
        return fail_nomem(err, "a list of refcount blocks",
                          capacity * sizeof(*pending));
    a->pending = pending;
    a->pending_capacity = capacity;
    return BYRE_OK;
}

/* Nothing points to the block: its cluster is free again, or lost at worst. */
static void unplace(struct allocator *a, const struct placing *placing)
{
    struct lowering lowering = { .cluster = placing->cluster,
                                 .times = 1,
                                 .end = placing->cluster + 1 };

    if (metadata_remove(a->metadata, placing->cluster << a->cluster_bits,
                        allocator_cluster_bytes(a), NULL) == BYRE_OK)
        allocator_lower(a, &lowering, NULL);
}

/* Makes a block: that of `index`, or the one that counts the first free cluster
   and is missing too.  Under `growth`. */
static int make_block(struct allocator *a, uint64_t index,
                      struct byre_error *err)
{
    struct placing placing = { .index = index };
    uint64_t host_offset;
    int r;

    pthread_mutex_lock(&a->lock);
    placing.cursor = a->hint;
    r = reserve_pending(a, err);
    pthread_mutex_unlock(&a->lock);
    if (r == BYRE_OK)
        r = allocator_run(a, place_step, &placing, err);
    if (r < 0)
        return r;

    host_offset = placing.cluster << a->cluster_bits;
    r = write_block(a, host_offset, placing.index, placing.cluster,
                    placing.cluster + 1, err);
    if (r < 0) {
        unplace(a, &placing);
        return r;
    }
    pthread_mutex_lock(&a->lock);
    a->table[placing.index] = host_offset;
    a->pending[a->pending_count++] = placing.index;
    pthread_mutex_unlock(&a->lock);
    return BYRE_OK;
}

/* ---- A larger table ---- */

struct larger_table {
    uint64_t first_index;   /* of the new blocks */
    uint64_t first_cluster; /* of the area */
    uint64_t blocks;
    uint64_t table_clusters;
    uint64_t entries;
};

static uint64_t area_clusters(const struct larger_table *larger)
{
    return larger->blocks + larger->table_clusters;
}

static int fail_table_limit(uint64_t entries, struct byre_error *err)
{
    return fail(err, BYRE_E_LIMIT,
                "refcount table would need %" PRIu64
                " bytes, more than the limit of %" PRIu64
                "; an image with larger clusters has room for more",
                entries * 8, QCOW2_MAX_REFCOUNT_TABLE_BYTES);
}

/* The blocks count the table and themselves, and the table points to them. */
static int plan_larger(const struct allocator *a, uint64_t index,
                       struct larger_table *ret_larger, struct byre_error *err)
{
    const uint64_t cluster_bytes = allocator_cluster_bytes(a);
    const uint64_t max_entries = QCOW2_MAX_REFCOUNT_TABLE_BYTES / 8;
    struct larger_table larger = {
        .first_index = a->table_entries,
        .first_cluster = a->table_entries << a->block_bits,
    };
    uint64_t blocks = 1;

    while (larger.blocks != blocks) {
        uint64_t needed;

        larger.blocks = blocks;
        needed = max_u64(index + 1, larger.first_index + blocks);
        if (needed > max_entries)
            return fail_table_limit(needed, err);
        larger.entries = min_u64(needed + needed / 2 + 1, max_entries);
        larger.table_clusters = div_round_up(larger.entries * 8, cluster_bytes);
        blocks = max_u64(blocks, div_round_up(area_clusters(&larger),
                                              UINT64_C(1) << a->block_bits));
    }
    larger.entries = larger.table_clusters * cluster_bytes / 8;
    if (!range_within(larger.first_cluster, area_clusters(&larger),
                      a->end_cluster))
        return allocator_fail_full(a, err);
    *ret_larger = larger;
    return BYRE_OK;
}

static uint64_t block_offset(const struct allocator *a,
                             const struct larger_table *larger, uint64_t i)
{
    return (larger->first_cluster + i) << a->cluster_bits;
}

static uint64_t new_table_offset(const struct allocator *a,
                                 const struct larger_table *larger)
{
    return block_offset(a, larger, larger->blocks);
}

static int write_area_blocks(struct allocator *a,
                             const struct larger_table *larger,
                             struct byre_error *err)
{
    const uint64_t end = larger->first_cluster + area_clusters(larger);

    for (uint64_t i = 0; i < larger->blocks; i++) {
        int r;

        r = write_block(a, block_offset(a, larger, i), larger->first_index + i,
                        larger->first_cluster, end, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int guard_area(struct allocator *a, const struct larger_table *larger,
                      struct byre_error *err)
{
    const uint64_t cluster_bytes = allocator_cluster_bytes(a);
    int r;

    r = metadata_add(a->metadata, METADATA_REFCOUNT_BLOCK,
                     block_offset(a, larger, 0), larger->blocks * cluster_bytes,
                     cluster_bytes, err);
    if (r < 0)
        return r;
    r = metadata_add(
        a->metadata, METADATA_REFCOUNT_TABLE, new_table_offset(a, larger),
        larger->table_clusters * cluster_bytes, cluster_bytes, err);
    if (r < 0)
        metadata_remove(a->metadata, block_offset(a, larger, 0),
                        larger->blocks * cluster_bytes, NULL);
    return r;
}

static void unguard_area(struct allocator *a, const struct larger_table *larger)
{
    metadata_remove(a->metadata, block_offset(a, larger, 0),
                    area_clusters(larger) * allocator_cluster_bytes(a), NULL);
}

/* From here on the old table is only what the header still points to. */
static int use_larger(struct allocator *a, const struct larger_table *larger,
                      uint64_t *table, struct byre_error *err)
{
    const uint64_t old_bytes = a->table_entries * 8;
    const struct release old = {
        .cluster = a->table_offset >> a->cluster_bits,
        .clusters = old_bytes >> a->cluster_bits,
        .times = 1,
    };
    int r;

    r = releases_note(a, old, err);
    if (r < 0)
        return r;
    metadata_remove(a->metadata, a->table_offset, old_bytes, NULL);
    for (uint64_t i = 0; i < a->table_entries; i++)
        table[i] = a->table[i];
    for (uint64_t i = 0; i < larger->blocks; i++)
        table[larger->first_index + i] = block_offset(a, larger, i);
    free(a->table);
    a->table = table;
    a->table_entries = larger->entries;
    a->table_offset = new_table_offset(a, larger);
    a->table_moved = true;
    allocator_note_used(a, larger->first_cluster, area_clusters(larger));
    return BYRE_OK;
}

/* Makes room for the entry `index`.  Under `growth`. */
static int grow_table(struct allocator *a, uint64_t index,
                      struct byre_error *err)
{
    struct larger_table larger = { 0 };
    uint64_t *table;
    int r;

    r = plan_larger(a, index, &larger, err);
    if (r < 0)
        return r;
    table = calloc((size_t)larger.entries, sizeof(*table));
    if (table == NULL)
        return fail_nomem(err, "a refcount table", (size_t)larger.entries * 8);

    r = guard_area(a, &larger, err);
    if (r < 0) {
        free(table);
        return r;
    }
    r = write_area_blocks(a, &larger, err);
    if (r == BYRE_OK) {
        pthread_mutex_lock(&a->lock);
        r = use_larger(a, &larger, table, err);
        pthread_mutex_unlock(&a->lock);
    }
    if (r < 0) {
        unguard_area(a, &larger);
        free(table);
    }
    return r;
}

int refcount_growth_add_block(struct allocator *a, uint64_t cluster,
                              struct byre_error *err)
{
    const uint64_t index = cluster >> a->block_bits;
    int r = BYRE_OK;

    pthread_mutex_lock(&a->growth);
    if (index >= a->table_entries)
        r = grow_table(a, index, err);
    while (r == BYRE_OK && a->table[index] == 0)
        r = make_block(a, index, err);
    pthread_mutex_unlock(&a->growth);
    return r;
}
