/* SPDX-License-Identifier: MIT */
/*
 * Where the new refcount structure goes, and how large it is.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/rebuild_parts.h"

/* How many blocks from the one of cluster `from` to that of `to` are not
   needed for anything else. */
static uint64_t blocks_added(const struct rebuild *rebuild, uint64_t from,
                             uint64_t to)
{
    uint64_t added = 0;

    for (uint64_t i = from / rebuild->per_block; i <= to / rebuild->per_block;
         i++)
        added += i >= rebuild->needed_end || !rebuild_needs(rebuild, i);
    return added;
}

/*
 * Sizes the structure for its start.  It counts itself, so that its size is a
 * fixed point; the size only grows on the way there.
 */
static int lay_out(struct rebuild *rebuild, uint64_t start,
                   struct byre_error *err)
{
    const uint64_t entries_per_cluster = rebuild->cluster_bytes / 8;
    uint64_t clusters = 1, before, entries;

    do {
        before = clusters;
        entries = max_u64(rebuild->needed_end,
                          (start + clusters - 1) / rebuild->per_block + 1);
        rebuild->table_clusters = div_round_up(entries, entries_per_cluster);
        if (entries > REBUILD_MOST_BLOCKS)
            return rebuild_fail_table_size(rebuild, entries, err);
        rebuild->blocks = rebuild->needed_blocks +
                          blocks_added(rebuild, start, start + clusters - 1);
        clusters = rebuild->blocks + rebuild->table_clusters;
    } while (clusters != before);

    if (start + clusters > STORE_MAX_OFFSET / rebuild->cluster_bytes)
        return fail(err, BYRE_E_LIMIT,
                    "refcounts cannot be rebuilt: %" PRIu64
                    " clusters behind %" PRIu64
                    " end past what a file can hold; run check on the image",
                    clusters, start * rebuild->cluster_bytes);
    rebuild->start = start;
    rebuild->clusters = clusters;
    return BYRE_OK;
}

/* The most clusters that the structure takes, wherever below `limit` it is. */
static uint64_t most_clusters(const struct rebuild *rebuild, uint64_t limit)
{
    const uint64_t entries =
        max_u64(rebuild->needed_end, limit / rebuild->per_block + 1);
    const uint64_t table = div_round_up(entries, rebuild->cluster_bytes / 8);
    uint64_t clusters = 1, before;

    do {
        before = clusters;
        clusters =
            min_u64(rebuild->needed_blocks + clusters / rebuild->per_block + 2,
                    entries) +
            table;
    } while (clusters != before);
    return clusters;
}

/* Searches the window; *start is where the free run that it begins in or with
   started.  Returns whether it has ended with `wanted` clusters. */
static bool search_window(const struct reference_counts *counts,
                          uint64_t wanted, uint64_t limit, uint64_t *start)
{
    for (uint64_t i = 0; i < counts->clusters; i++) {
        const uint64_t cluster = min_u64(counts->first + i, limit);

        if (reference_counts_get(counts, i) == 0 &&
            reference_counts_use(counts, i) == 0)
            continue;
        if (cluster > *start && cluster - *start >= wanted)
            return true;
        *start = cluster + 1;
    }
    return false;
}

/* The first run of `wanted` free clusters below `limit`.  What lies between two
   windows is free. */
static int find_room(struct rebuild *rebuild, uint64_t wanted, uint64_t limit,
                     uint64_t *ret_start, struct byre_error *err)
{
    uint64_t start = 0;
    int r;

    for (uint64_t first = 0; first != REFERENCE_COUNTS_END;
         first = rebuild->counts.next) {
        r = rebuild_count_window(rebuild, first, err);
        if (r < 0)
            return r;
        if (search_window(&rebuild->counts, wanted, limit, &start))
            break;
    }
    if (start >= limit || limit - start < wanted)
        return fail(err, BYRE_E_LIMIT,
                    "refcounts cannot be rebuilt: the device of %" PRIu64
                    " bytes has no %" PRIu64
                    " free bytes in a row; enlarge the device",
                    rebuild->file_bytes, wanted * rebuild->cluster_bytes);
    *ret_start = start;
    return BYRE_OK;
}

/* Behind all that is in use, where a device may end; or as low as it goes. */
static int choose_place(struct rebuild *rebuild, struct byre_error *err)
{
    const uint64_t limit = rebuild->file_bytes / rebuild->cluster_bytes;
    uint64_t start = 0;
    int r;

    if (!rebuild->low) {
        r = lay_out(rebuild, rebuild->end, err);
        if (r < 0)
            return r;
        if (!rebuild->qcow2->store->identity.is_device ||
            rebuild->start + rebuild->clusters <= limit)
            return BYRE_OK;
    }

    rebuild->clusters = 0;
    r = find_room(rebuild, most_clusters(rebuild, limit), limit, &start, err);
    if (r < 0)
        return r;
    return lay_out(rebuild, start, err);
}

int rebuild_place(struct rebuild *rebuild, struct byre_error *err)
{
    const bool one_window = rebuild->end <= rebuild->counts.clusters;
    int r;

    r = choose_place(rebuild, err);
    if (r < 0)
        return r;

    for (uint64_t i = rebuild->start; i < rebuild->start + rebuild->clusters;
         i++)
        rebuild_need_block(rebuild, i / rebuild->per_block);
    /* What the only walk has counted is still there. */
    if (one_window &&
        rebuild->start + rebuild->clusters <= rebuild->counts.clusters) {
        reference_counts_range(
            &rebuild->counts, rebuild->start * rebuild->cluster_bytes,
            rebuild->clusters * rebuild->cluster_bytes, REFERENCE_USE_TABLE);
        return BYRE_OK;
    }
    return rebuild_count_window(rebuild, 0, err);
}
