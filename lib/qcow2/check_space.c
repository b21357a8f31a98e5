/* SPDX-License-Identifier: MIT */
/*
 * Room for what a repair writes anew: clusters whose refcount is 0, which is
 * the truth once the refcounts are mended.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/check.h"

/* The first run of free clusters that have a refcount block. */
static int find_run(struct check *check, uint64_t clusters, uint64_t *ret_first,
                    struct byre_error *err)
{
    struct stored_counts *stored = &check->stored;
    const uint64_t blocks = min_u64(
        stored->table_entries, (check->end + clusters) / stored->per_block + 2);
    uint64_t run = 0;
    int r;

    for (uint64_t index = 0; index < blocks; index++) {
        r = stored_counts_load(stored, index, err);
        if (r < 0)
            return r;
        if (stored->state != STORED_BLOCK) {
            run = 0;
            continue;
        }
        for (uint64_t i = 0; i < stored->per_block; i++) {
            run = stored_counts_get(stored, i) == 0 ? run + 1 : 0;
            if (run == clusters) {
                *ret_first = index * stored->per_block + i + 1 - clusters;
                return BYRE_OK;
            }
        }
    }
    return fail(err, BYRE_E_LIMIT,
                "no %" PRIu64 " free clusters in a row have refcounts",
                clusters);
}

int check_take(struct check *check, uint64_t bytes, uint64_t *ret_offset,
               struct byre_error *err)
{
    const uint64_t clusters = div_round_up(bytes, check->cluster_bytes);
    struct stored_counts *stored = &check->stored;
    uint64_t first = 0;
    int r;

    r = find_run(check, clusters, &first, err);
    for (uint64_t i = first; r == BYRE_OK && i < first + clusters; i++) {
        r = stored_counts_load(stored, i / stored->per_block, err);
        if (r == BYRE_OK)
            stored_counts_put(stored, i % stored->per_block, 1);
    }
    if (r == BYRE_OK)
        r = stored_counts_save(stored, err);
    if (r == BYRE_OK)
        r = store_flush(check->qcow2->store, err);
    if (r == BYRE_OK)
        *ret_offset = first * check->cluster_bytes;
    return r;
}
