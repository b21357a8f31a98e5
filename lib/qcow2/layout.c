/* SPDX-License-Identifier: MIT */
#include "qcow2/layout.h"

#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "store/store.h"

#define TABLE_ENTRY_BYTES 8

static uint64_t l2_entries(uint32_t cluster_bits, bool extended_l2)
{
    return UINT64_C(1) << (cluster_bits - (extended_l2 ? 4 : 3));
}

uint64_t layout_max_disk_bytes(uint32_t cluster_bits, bool extended_l2)
{
    const uint64_t table_bytes = l2_entries(cluster_bits, extended_l2)
                                 << cluster_bits;
    uint64_t bytes;

    if (mul_overflow(table_bytes, QCOW2_MAX_L1_ENTRIES, &bytes))
        return STORE_MAX_OFFSET;
    return min_u64(bytes, STORE_MAX_OFFSET);
}

static int check_disk_size(const struct layout_choice *choice,
                           struct byre_error *err)
{
    const uint64_t most =
        layout_max_disk_bytes(choice->cluster_bits, choice->extended_l2);

    if (choice->size_bytes <= most)
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "The image size is too large for file format 'qcow2' (try "
                "using a larger cluster size): %" PRIu64
                " bytes are more than the limit of %" PRIu64
                " for clusters of %u bytes",
                choice->size_bytes, most, 1U << choice->cluster_bits);
}

/*
 * Each round gives table and blocks what the round before asked for; the sums
 * only grow, and end because a block counts far more than the table entry and
 * the cluster that it costs.
 */
void layout_count_refcounts(uint32_t cluster_bits, uint32_t refcount_order,
                            uint64_t others, uint64_t *ret_table_clusters,
                            uint64_t *ret_block_clusters)
{
    const uint64_t per_block =
        refcounts_per_block(cluster_bits, refcount_order);
    const uint64_t per_table_cluster = UINT64_C(1) << (cluster_bits - 3);
    uint64_t table = 0;
    uint64_t blocks = 0;
    uint64_t all = 0;

    while (others + table + blocks != all) {
        all = others + table + blocks;
        blocks = div_round_up(all, per_block);
        table = div_round_up(blocks, per_table_cluster);
    }
    *ret_table_clusters = table;
    *ret_block_clusters = blocks;
}

static int check_file(const struct layout *layout, struct byre_error *err)
{
    const uint64_t table_bytes = layout_bytes(layout, &layout->refcount_table);
    const uint64_t most = QCOW2_MAX_HOST_BYTES >> layout->cluster_bits;
    const uint64_t mapped =
        layout->l2.clusters > 0 ? layout->guest_clusters : 0;

    if (table_bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES)
        return fail(err, BYRE_E_INVALID,
                    "the preallocated image needs a refcount table of %" PRIu64
                    " bytes, more than the limit of %" PRIu64
                    "; use larger clusters or smaller refcounts",
                    table_bytes, QCOW2_MAX_REFCOUNT_TABLE_BYTES);
    if (layout->clusters > most || mapped > most)
        return fail(err, BYRE_E_INVALID,
                    "the preallocated image needs a file of %" PRIu64
                    " clusters of %" PRIu64 " bytes, more than the limit "
                    "of %" PRIu64 " bytes",
                    max_u64(layout->clusters, mapped),
                    UINT64_C(1) << layout->cluster_bits, QCOW2_MAX_HOST_BYTES);
    return BYRE_OK;
}

static void place(struct layout *layout)
{
    struct layout_part *const parts[] = {
        &layout->refcount_table,
        &layout->refcount_blocks,
        &layout->l1,
        &layout->luks,
        &layout->l2,
        &layout->data,
    };
    uint64_t cluster = 1;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        parts[i]->offset =
            parts[i]->clusters > 0 ? cluster << layout->cluster_bits : 0;
        cluster += parts[i]->clusters;
    }
}

int layout_make(const struct layout_choice *choice, struct layout *ret_layout,
                struct byre_error *err)
{
    const uint64_t cluster_bytes = UINT64_C(1) << choice->cluster_bits;
    const uint64_t entries =
        l2_entries(choice->cluster_bits, choice->extended_l2);
    struct layout layout = { .cluster_bits = choice->cluster_bits };
    int r;

    r = check_disk_size(choice, err);
    if (r < 0)
        return r;

    layout.guest_clusters = div_round_up(choice->size_bytes, cluster_bytes);
    layout.l1_entries = div_round_up(layout.guest_clusters, entries);
    layout.l1.clusters =
        div_round_up(layout.l1_entries * TABLE_ENTRY_BYTES, cluster_bytes);
    layout.luks.clusters = div_round_up(choice->luks_bytes, cluster_bytes);
    if (choice->tables)
        layout.l2.clusters = layout.l1_entries;
    if (choice->clusters)
        layout.data.clusters = layout.guest_clusters;
    layout.clusters = 1 + layout.l1.clusters + layout.luks.clusters +
                      layout.l2.clusters + layout.data.clusters;
    layout_count_refcounts(choice->cluster_bits, choice->refcount_order,
                           layout.clusters, &layout.refcount_table.clusters,
                           &layout.refcount_blocks.clusters);
    layout.clusters +=
        layout.refcount_table.clusters + layout.refcount_blocks.clusters;

    r = check_file(&layout, err);
    if (r < 0)
        return r;

    place(&layout);
    *ret_layout = layout;
    return BYRE_OK;
}
