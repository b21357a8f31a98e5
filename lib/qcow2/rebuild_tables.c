/* SPDX-License-Identifier: MIT */
/*
 * Writing the new blocks and the new table.
 */
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/rebuild_parts.h"

static int write_cluster(struct rebuild *rebuild, uint64_t index,
                         struct byre_error *err)
{
    return store_write(rebuild->qcow2->store,
                       (rebuild->start + index) * rebuild->cluster_bytes,
                       rebuild->block, (size_t)rebuild->cluster_bytes, err);
}

static int fail_changed(struct byre_error *err)
{
    return fail(err, BYRE_E_IO,
                "refcounts cannot be rebuilt: the image changed meanwhile");
}

/* Writes the block that was filled, and begins with block `index`. */
static int next_block(struct rebuild *rebuild, uint64_t index,
                      struct byre_error *err)
{
    int r;

    if (rebuild->block_index != BYRE_NO_OFFSET) {
        if (rebuild->blocks_written == rebuild->blocks)
            return fail_changed(err);
        r = write_cluster(rebuild, rebuild->blocks_written, err);
        if (r < 0)
            return r;
        rebuild->blocks_written++;
    }
    memset(rebuild->block, 0, (size_t)rebuild->cluster_bytes);
    rebuild->block_index = index;
    return BYRE_OK;
}

/* Puts one count.  Clusters come in ascending order. */
static int put_count(struct rebuild *rebuild, uint64_t cluster, uint64_t count,
                     struct byre_error *err)
{
    const uint64_t index = cluster / rebuild->per_block;
    int r;

    r = rebuild_check_count(rebuild, cluster, count, err);
    if (r < 0)
        return r;

    if (index != rebuild->block_index) {
        if (index >= rebuild->needed_end || !rebuild_needs(rebuild, index))
            return fail_changed(err);
        r = next_block(rebuild, index, err);
        if (r < 0)
            return r;
    }
    refcount_put(rebuild->block, cluster % rebuild->per_block, rebuild->order,
                 min_u64(count, refcount_max(rebuild->order)));
    return BYRE_OK;
}

static int put_window(struct rebuild *rebuild, struct byre_error *err)
{
    const struct reference_counts *counts = &rebuild->counts;
    int r;

    for (uint64_t i = 0; i < counts->clusters; i++) {
        const uint32_t count = reference_counts_get(counts, i);

        if (count == 0)
            continue;
        r = put_count(rebuild, counts->first + i, count, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* The first window has been counted already. */
static int write_blocks(struct rebuild *rebuild, struct byre_error *err)
{
    int r;

    for (;;) {
        r = put_window(rebuild, err);
        if (r < 0)
            return r;
        if (rebuild->counts.next == REFERENCE_COUNTS_END)
            break;
        r = rebuild_count_window(rebuild, rebuild->counts.next, err);
        if (r < 0)
            return r;
    }
    r = next_block(rebuild, BYRE_NO_OFFSET, err);
    if (r < 0)
        return r;
    return rebuild->blocks_written == rebuild->blocks ? BYRE_OK
                                                      : fail_changed(err);
}

static int write_table(struct rebuild *rebuild, struct byre_error *err)
{
    const uint64_t entries = rebuild->cluster_bytes / 8;
    uint64_t place = rebuild->start;
    int r;

    for (uint64_t i = 0; i < rebuild->table_clusters; i++) {
        memset(rebuild->block, 0, (size_t)rebuild->cluster_bytes);
        for (uint64_t j = 0; j < entries; j++) {
            const uint64_t index = i * entries + j;

            if (index < rebuild->needed_end && rebuild_needs(rebuild, index))
                be64_put(rebuild->block + j * 8,
                         place++ * rebuild->cluster_bytes);
        }
        r = write_cluster(rebuild, rebuild->blocks + i, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

int rebuild_write(struct rebuild *rebuild, struct byre_error *err)
{
    int r;

    r = write_blocks(rebuild, err);
    if (r < 0)
        return r;

    r = write_table(rebuild, err);
    if (r < 0)
        return r;
    return store_flush(rebuild->qcow2->store, err);
}
