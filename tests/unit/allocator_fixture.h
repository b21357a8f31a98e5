/* SPDX-License-Identifier: MIT */
/*
 * An allocator over a minimal image: header, refcount table, one block, L1,
 * one cluster each; and the counts as another program would read them.
 */
#ifndef BYRE_TESTS_ALLOCATOR_FIXTURE_H
#define BYRE_TESTS_ALLOCATOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "format/header.h"
#include "format/refcount.h"
#include "qcow2/allocator.h"

#define FIXTURE_USED 4 /* clusters of the minimal image */

struct fixture {
    struct byre_store *store;
    struct qcow2 qcow2;
    struct metadata metadata;
    struct gate gate;
    struct allocator *allocator;
    uint32_t cluster_bits;
    uint64_t cluster_bytes;
};

/* The bytes of a minimal image; the caller frees them. */
static inline uint8_t *minimal_image(uint32_t cluster_bits, uint32_t order,
                                     size_t *ret_length)
{
    const size_t cluster = (size_t)1 << cluster_bits;
    const struct qcow2_header header = {
        .version = 3,
        .cluster_bits = cluster_bits,
        .size_bytes = cluster,
        .l1_entries = 1,
        .l1_offset = 3 * cluster,
        .refcount_table_offset = cluster,
        .refcount_table_clusters = 1,
        .refcount_order = order,
        .header_bytes = QCOW2_HEADER_BYTES,
    };
    uint8_t *bytes = calloc(FIXTURE_USED, cluster);

    qcow2_header_encode(&header, NULL, bytes);
    be64_put(bytes + cluster, 2 * cluster);
    for (uint64_t i = 0; i < FIXTURE_USED; i++)
        refcount_put(bytes + 2 * cluster, i, order, 1);
    *ret_length = FIXTURE_USED * cluster;
    return bytes;
}

/* All but the allocator; takes the reference of the store. */
static inline void fixture_prepare(struct fixture *f, struct byre_store *store)
{
    uint8_t raw[QCOW2_HEADER_BYTES];
    struct qcow2_header *header = &f->qcow2.header;

    memset(f, 0, sizeof(*f));
    f->store = f->qcow2.store = store;
    gate_init(&f->gate);
    metadata_init(&f->metadata);
    assert_int_equal(store_read(store, 0, raw, sizeof(raw), NULL), BYRE_OK);
    assert_int_equal(qcow2_header_decode(raw, sizeof(raw), header, NULL),
                     BYRE_OK);
    f->cluster_bits = header->cluster_bits;
    f->cluster_bytes = qcow2_cluster_bytes(header);
    assert_int_equal(metadata_add(&f->metadata, METADATA_HEADER, 0,
                                  QCOW2_HEADER_BYTES, f->cluster_bytes, NULL),
                     BYRE_OK);
    assert_int_equal(metadata_add(&f->metadata, METADATA_L1, header->l1_offset,
                                  8, f->cluster_bytes, NULL),
                     BYRE_OK);
}

static inline int fixture_open(struct fixture *f, struct byre_store *store,
                               uint64_t cache_bytes, struct byre_error *err)
{
    fixture_prepare(f, store);
    return allocator_new(&f->qcow2, &f->metadata, &f->gate, cache_bytes,
                         &f->allocator, err);
}

static inline void fixture_done(struct fixture *f)
{
    allocator_free(f->allocator);
    metadata_done(&f->metadata);
    gate_done(&f->gate);
    byre_store_unref(f->store);
}

static inline struct byre_store *minimal_store(uint32_t cluster_bits,
                                               uint32_t order)
{
    struct byre_store *store = NULL;
    size_t length;
    uint8_t *bytes = minimal_image(cluster_bits, order, &length);

    assert_int_equal(byre_store_new_memory(bytes, length, &store, NULL),
                     BYRE_OK);
    free(bytes);
    return store;
}

static inline void fixture_init(struct fixture *f, uint32_t cluster_bits,
                                uint32_t order)
{
    assert_int_equal(
        fixture_open(f, minimal_store(cluster_bits, order), 0, NULL), BYRE_OK);
}

/* One flush as the engine does it. */
static inline int flush(struct fixture *f, struct byre_error *err)
{
    struct release_batch *batch = NULL;
    int r;

    r = allocator_flush_begin(f->allocator, &batch, err);
    if (r == BYRE_OK)
        r = allocator_flush_counts(f->allocator, err);
    if (r == BYRE_OK)
        r = store_flush(f->store, err);
    if (r == BYRE_OK)
        allocator_flush_durable(f->allocator);
    if (r == BYRE_OK)
        r = store_flush(f->store, err);
    if (r == BYRE_OK)
        r = allocator_flush_unlinked(f->allocator, batch, err);
    if (r < 0)
        allocator_flush_failed(f->allocator, batch);
    return r;
}

static inline void flush_until_clean(struct fixture *f)
{
    int rounds = 0;

    while (allocator_is_dirty(f->allocator)) {
        assert_int_equal(flush(f, NULL), BYRE_OK);
        assert_true(++rounds <= 3);
    }
}

/* ---- The counts in the file ---- */

struct disk_counts {
    struct qcow2_header header;
    uint64_t *table; /* offsets of blocks */
    uint64_t entries;
    uint8_t **blocks;
    uint64_t *counts; /* a cluster each */
    uint64_t clusters;
};

/* Reads header, table and blocks anew; false where they make no sense. */
static inline bool disk_counts_read(struct byre_store *store,
                                    struct disk_counts *ret)
{
    uint8_t raw[QCOW2_HEADER_BYTES], *table, *block;
    struct disk_counts d = { 0 };
    uint64_t per_block, cluster, last = 0;
    bool sane = true;

    assert_int_equal(store_read(store, 0, raw, sizeof(raw), NULL), BYRE_OK);
    if (qcow2_header_decode(raw, sizeof(raw), &d.header, NULL) < 0 ||
        qcow2_header_check(&d.header, NULL) < 0)
        return false;
    cluster = qcow2_cluster_bytes(&d.header);
    per_block =
        refcounts_per_block(d.header.cluster_bits, d.header.refcount_order);
    d.entries = d.header.refcount_table_clusters * cluster / 8;
    table = malloc(d.entries * 8);
    block = malloc(cluster);
    d.table = calloc(d.entries, sizeof(*d.table));
    assert_int_equal(store_read(store, d.header.refcount_table_offset, table,
                                d.entries * 8, NULL),
                     BYRE_OK);
    for (uint64_t i = 0; i < d.entries; i++) {
        sane = sane &&
               refcount_table_entry_decode(be64_get(table + i * 8),
                                           d.header.cluster_bits, &d.table[i]);
        if (d.table[i] != 0)
            last = i + 1;
    }
    d.clusters = last * per_block;
    d.counts = calloc(d.clusters + 1, sizeof(*d.counts));
    for (uint64_t i = 0; sane && i < last; i++) {
        if (d.table[i] == 0)
            continue;
        assert_int_equal(store_read(store, d.table[i], block, cluster, NULL),
                         BYRE_OK);
        for (uint64_t j = 0; j < per_block; j++)
            d.counts[i * per_block + j] =
                refcount_get(block, j, d.header.refcount_order);
    }
    free(table);
    free(block);
    *ret = d;
    return sane;
}

static inline void disk_counts_done(struct disk_counts *d)
{
    free(d->table);
    free(d->counts);
}

static inline uint64_t disk_count(const struct disk_counts *d, uint64_t cluster)
{
    return cluster < d->clusters ? d->counts[cluster] : 0;
}

/*
 * Whether header, L1, table and blocks are all counted; with `exactly`, once.
 * Takes 1 from each of them, so that the rest is what others use.
 */
static inline bool disk_counts_take_metadata(struct disk_counts *d)
{
    const uint32_t bits = d->header.cluster_bits;
    bool sane = true;

#define TAKE(cluster_index)                                                    \
    do {                                                                       \
        const uint64_t taken = (cluster_index);                                \
        if (disk_count(d, taken) == 0)                                         \
            sane = false;                                                      \
        else                                                                   \
            d->counts[taken]--;                                                \
    } while (0)
    TAKE(0);
    TAKE(d->header.l1_offset >> bits);
    for (uint64_t i = 0; i < d->header.refcount_table_clusters; i++)
        TAKE((d->header.refcount_table_offset >> bits) + i);
    for (uint64_t i = 0; i < d->entries; i++) {
        if (d->table[i] != 0)
            TAKE(d->table[i] >> bits);
    }
#undef TAKE
    return sane;
}

#endif
