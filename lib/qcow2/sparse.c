/* SPDX-License-Identifier: MIT */
/*
 * Whether an image's clusters were only reserved (preallocation=metadata), so
 * that "data" is often a hole of the file.  QEMU's measure, found by
 * experiment: more clusters in use than the file's space accounts for, by a
 * ninth of them and by two.
 */
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "format/refcount.h"
#include "qcow2/internal.h"

/* Counts used clusters among the first `clusters`, up to `enough`. */
struct counter {
    const struct qcow2 *qcow2;
    uint8_t *block; /* one cluster */
    uint64_t clusters;
    uint64_t enough;
    uint64_t used;
};

static int count_block(struct counter *counter, uint64_t block_offset,
                       uint64_t entries)
{
    const struct qcow2_header *header = &counter->qcow2->header;
    int r;

    r = store_read(counter->qcow2->store, block_offset, counter->block,
                   (size_t)qcow2_cluster_bytes(header), NULL);
    if (r < 0)
        return r;

    for (uint64_t i = 0; i < entries && counter->used < counter->enough; i++)
        counter->used +=
            refcount_get(counter->block, i, header->refcount_order) != 0;
    return BYRE_OK;
}

/* Refcount blocks that are read: what they count is 2 TiB of 64 KiB clusters.
 */
#define MOST_BLOCK_BYTES (UINT64_C(64) << 20)

static int count_used(struct counter *counter)
{
    const struct qcow2_header *header = &counter->qcow2->header;
    const uint64_t per_block =
        refcounts_per_block(header->cluster_bits, header->refcount_order);
    const uint64_t table_entries =
        header->refcount_table_clusters * qcow2_cluster_bytes(header) / 8;
    const uint64_t blocks = min_u64(
        min_u64(div_round_up(counter->clusters, per_block), table_entries),
        MOST_BLOCK_BYTES / qcow2_cluster_bytes(header));

    for (uint64_t i = 0; i < blocks && counter->used < counter->enough; i++) {
        uint8_t raw[8];
        uint64_t block_offset;
        int r;

        r = store_read(counter->qcow2->store,
                       header->refcount_table_offset + i * 8, raw, sizeof(raw),
                       NULL);
        if (r < 0)
            return r;
        if (!refcount_table_entry_decode(be64_get(raw), header->cluster_bits,
                                         &block_offset) ||
            block_offset == 0)
            continue;
        r = count_block(counter, block_offset,
                        min_u64(per_block, counter->clusters - i * per_block));
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static bool is_sparse(const struct qcow2 *qcow2)
{
    const uint64_t cluster = qcow2_cluster_bytes(&qcow2->header);
    const uint64_t allocated = store_allocated_bytes(qcow2->store);
    struct counter counter = { .qcow2 = qcow2 };
    uint64_t file_bytes;

    if (allocated == BYRE_NO_OFFSET ||
        store_get_size(qcow2->store, &file_bytes, NULL) < 0)
        return false;

    counter.clusters = div_round_up(file_bytes, cluster);
    counter.enough =
        max_u64(allocated / cluster * 10 / 9, allocated / cluster + 2);
    if (counter.clusters < counter.enough)
        return false;
    counter.block = malloc((size_t)cluster);
    if (counter.block == NULL || count_used(&counter) < 0)
        counter.used = 0;
    free(counter.block);
    return counter.used >= counter.enough;
}

/* Threads that ask at once may each count; they find the same. */
bool qcow2_may_have_holes(struct engine *engine)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int sparse = atomic_load(&qcow2->sparse);

    if (sparse == SPARSE_UNKNOWN) {
        sparse = is_sparse(qcow2) ? SPARSE_YES : SPARSE_NO;
        atomic_store(&qcow2->sparse, sparse);
    }
    return sparse == SPARSE_YES;
}
