/* SPDX-License-Identifier: MIT */
/*
 * Where everything of a new image goes.  Pure.
 *
 *     header | refcount table | refcount blocks | L1 | LUKS | L2 ... | data ...
 *
 * Each part starts at a cluster and follows the one before it without a gap, so
 * every cluster up to the end is used once.
 */
#ifndef BYRE_QCOW2_LAYOUT_H
#define BYRE_QCOW2_LAYOUT_H

#include <stdbool.h>

#include "format/header.h"

/* Host offsets have 56 bits in an L2 entry. */
#define QCOW2_MAX_HOST_BYTES (UINT64_C(1) << 56)

/* What the layout follows from. */
struct layout_choice {
    uint64_t size_bytes; /* of the disk */
    uint32_t cluster_bits;
    uint32_t refcount_order;
    bool extended_l2;
    bool tables;         /* all L2 tables are there */
    bool clusters;       /* and all guest clusters, in the image itself */
    uint64_t luks_bytes; /* 0: none */
};

/* So many clusters from `offset` on. */
struct layout_part {
    uint64_t offset;
    uint64_t clusters;
};

struct layout {
    uint32_t cluster_bits;
    struct layout_part refcount_table;
    struct layout_part refcount_blocks;
    struct layout_part l1;
    uint64_t l1_entries;
    struct layout_part luks;
    struct layout_part l2; /* a cluster a table */
    struct layout_part data;
    uint64_t guest_clusters; /* of the disk, wherever they are */
    uint64_t clusters;       /* of the file */
};

/*
 * Lays out an image.  BYRE_E_INVALID if the disk, the refcount table or the
 * file would be larger than the format can describe with these cluster and
 * refcount sizes.
 */
int layout_make(const struct layout_choice *choice, struct layout *ret_layout,
                struct byre_error *err);

/*
 * The refcount table and blocks that count `others` clusters and themselves.
 */
void layout_count_refcounts(uint32_t cluster_bits, uint32_t refcount_order,
                            uint64_t others, uint64_t *ret_table_clusters,
                            uint64_t *ret_block_clusters);

static inline uint64_t layout_bytes(const struct layout *layout,
                                    const struct layout_part *part)
{
    return part->clusters << layout->cluster_bits;
}

/* The largest disk that clusters of this size can describe. */
uint64_t layout_max_disk_bytes(uint32_t cluster_bits, bool extended_l2);

#endif
