/* SPDX-License-Identifier: MIT */
/*
 * Loading the refcount table, and whether it can be trusted with a write.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/allocator_internal.h"

static int set_limits(struct allocator *a, struct byre_error *err)
{
    uint64_t size_bytes;
    int r;

    r = store_get_size(a->store, &size_bytes, err);
    if (r < 0)
        return r;
    a->file_end = size_bytes;
    a->end_cluster =
        (a->store->identity.is_device ? size_bytes : HOST_OFFSET_LIMIT) >>
        a->cluster_bits;
    return BYRE_OK;
}

/* ---- The table ---- */

static int decode_table(struct allocator *a, const uint8_t *raw,
                        struct byre_error *err)
{
    for (uint64_t i = 0; i < a->table_entries; i++) {
        const uint64_t entry = be64_get(raw + i * 8);

        if (!refcount_table_entry_decode(entry, a->cluster_bits,
                                         &a->table[i]) ||
            a->table[i] > a->file_end)
            return fail_at(err, BYRE_E_CORRUPT, a->table_offset + i * 8,
                           "refcount table entry %" PRIu64 " is 0x%" PRIx64
                           ", which is no cluster of the file of %" PRIu64
                           " bytes; run a check of the image",
                           i, entry, a->file_end);
    }
    return BYRE_OK;
}

static int load_table(struct allocator *a, struct byre_error *err)
{
    const struct qcow2_header *header = &a->qcow2->header;
    const size_t bytes = (size_t)header->refcount_table_clusters
                         << header->cluster_bits;
    uint8_t *raw = malloc(bytes);
    int r;

    a->table_offset = header->refcount_table_offset;
    a->table_entries = bytes / 8;
    a->table = calloc(bytes / 8, sizeof(*a->table));
    if (raw == NULL || a->table == NULL) {
        free(raw);
        return fail_nomem(err, "the refcount table", bytes);
    }
    r = store_read(a->store, a->table_offset, raw, bytes, err);
    if (r < 0)
        error_prefix(err, "refcount table");
    else
        r = decode_table(a, raw, err);
    free(raw);
    return r;
}

/* ---- The guard ---- */

static int compare_offsets(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

static int guard_sorted(struct allocator *a, const uint64_t *offsets,
                        size_t count, struct byre_error *err)
{
    const uint64_t cluster_bytes = allocator_cluster_bytes(a);

    for (size_t i = 0; i < count; i++) {
        int r;

        r = metadata_add(a->metadata, METADATA_REFCOUNT_BLOCK, offsets[i],
                         cluster_bytes, cluster_bytes, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* In the order of the file, in which adding to a set is cheap. */
static int guard_blocks(struct allocator *a, struct byre_error *err)
{
    uint64_t *offsets = malloc((size_t)a->table_entries * sizeof(*offsets));
    size_t count = 0;
    int r;

    if (offsets == NULL)
        return fail_nomem(err, "a list of refcount blocks",
                          (size_t)a->table_entries * sizeof(*offsets));
    for (uint64_t i = 0; i < a->table_entries; i++) {
        if (a->table[i] != 0)
            offsets[count++] = a->table[i];
    }
    qsort(offsets, count, sizeof(*offsets), compare_offsets);
    r = guard_sorted(a, offsets, count, err);
    free(offsets);
    return r;
}

static int guard_table(struct allocator *a, struct byre_error *err)
{
    int r;

    r = metadata_add(a->metadata, METADATA_REFCOUNT_TABLE, a->table_offset,
                     a->table_entries * 8, allocator_cluster_bytes(a), err);
    if (r < 0)
        return r;
    return guard_blocks(a, err);
}

/* ---- Counts that must be there ---- */

static int check_counted(struct allocator *a, const char *object,
                         uint64_t offset, uint64_t bytes,
                         struct byre_error *err)
{
    for (uint64_t done = 0; done < bytes; done += allocator_cluster_bytes(a)) {
        uint64_t count;
        int r;

        r = allocator_get(a, offset + done, &count, err);
        if (r < 0)
            return r;
        if (count == 0)
            return fail_at(err, BYRE_E_CORRUPT, offset + done,
                           "refcount of the cluster at offset %" PRIu64
                           " is 0, but %s is there; run a check of the image",
                           offset + done, object);
    }
    return BYRE_OK;
}

/* spec: qcow2 "Host cluster management": metadata is counted too. */
static int check_own_counts(struct allocator *a, struct byre_error *err)
{
    const struct qcow2_header *header = &a->qcow2->header;
    int r;

    r = check_counted(a, "the header", 0, 1, err);
    if (r < 0)
        return r;
    r = check_counted(a, "the L1 table", header->l1_offset,
                      (uint64_t)header->l1_entries * 8, err);
    if (r < 0)
        return r;
    return check_counted(a, "the refcount table", a->table_offset,
                         a->table_entries * 8, err);
}

/* ---- The allocator ---- */

static int prepare(struct allocator *a, uint64_t cache_bytes,
                   struct byre_error *err)
{
    int r;

    r = set_limits(a, err);
    if (r < 0)
        return r;
    r = refcount_cache_init(a, cache_bytes, err);
    if (r < 0)
        return r;
    r = load_table(a, err);
    if (r < 0)
        return r;
    r = guard_table(a, err);
    if (r < 0)
        return r;
    return check_own_counts(a, err);
}

int allocator_new(struct qcow2 *qcow2, struct metadata *metadata,
                  struct gate *gate, uint64_t cache_bytes,
                  struct allocator **ret_allocator, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    struct allocator *a = calloc(1, sizeof(*a));
    int r;

    if (a == NULL)
        return fail_nomem(err, "an allocator", sizeof(*a));

    a->qcow2 = qcow2;
    a->metadata = metadata;
    a->gate = gate;
    a->store = qcow2->store;
    a->cluster_bits = header->cluster_bits;
    a->refcount_order = header->refcount_order;
    a->block_bits = header->cluster_bits + 3 - header->refcount_order;
    a->slice_bytes = (uint32_t)min_u64(REFCOUNT_SLICE_MAX_BYTES,
                                       qcow2_cluster_bytes(header));
    a->slice_bits = log2_of(a->slice_bytes) + 3 - header->refcount_order;
    pthread_mutex_init(&a->growth, NULL);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    r = prepare(a, cache_bytes, err);
    if (r < 0) {
        allocator_free(a);
        return r;
    }
    *ret_allocator = a;
    return BYRE_OK;
}

void allocator_free(struct allocator *a)
{
    if (a == NULL)
        return;
    releases_done(a);
    refcount_cache_done(a);
    free(a->table);
    free(a->pending);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->growth);
    free(a);
}
