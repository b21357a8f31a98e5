/* SPDX-License-Identifier: MIT */
/*
 * Judges a new QCOW2 image by counting: every cluster of its file belongs to
 * exactly one thing, and is counted once.  Shares nothing with the code that
 * makes images but the decoding of single fields.
 */
#ifndef BYRE_TESTS_CREATE_CASES_H
#define BYRE_TESTS_CREATE_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* the macro of cmocka; base/error.h has a function */

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "byre.h"
#include "format/entry.h"
#include "format/extensions.h"
#include "format/header.h"
#include "format/refcount.h"
#include "store/store.h"

/* Fails the test with a message, as fail_msg() would. */
#define flunk(...)                                                             \
    do {                                                                       \
        print_error(__VA_ARGS__);                                              \
        print_error("\n");                                                     \
        _fail(__FILE__, __LINE__);                                             \
    } while (0)

struct counted {
    uint8_t *bytes; /* the file */
    uint64_t length;
    struct qcow2_header header;
    uint8_t *used; /* a byte a cluster */
    uint64_t clusters;
};

static inline int counted_load(struct counted *c, struct byre_store *store,
                               struct byre_error *err)
{
    int r;

    r = store_get_size(store, &c->length, err);
    if (r < 0)
        return r;
    c->bytes = calloc(1, (size_t)c->length + 4096);
    r = store_read(store, 0, c->bytes, (size_t)c->length, err);
    if (r == BYRE_OK)
        r = qcow2_header_decode(c->bytes, (size_t)c->length, &c->header, err);
    if (r == BYRE_OK)
        r = qcow2_header_check(&c->header, err);
    if (r < 0)
        return r;
    c->clusters = div_round_up(c->length, qcow2_cluster_bytes(&c->header));
    c->used = calloc(1, (size_t)c->clusters + 1);
    return BYRE_OK;
}

static inline void counted_done(struct counted *c)
{
    free(c->bytes);
    free(c->used);
}

static inline int count_part(struct counted *c, uint64_t offset, uint64_t bytes,
                             const char *what, struct byre_error *err)
{
    const uint64_t cluster = qcow2_cluster_bytes(&c->header);
    const uint64_t first = offset / cluster;
    const uint64_t end = div_round_up(offset + bytes, cluster);

    if (!is_aligned(offset, cluster) || end > c->clusters)
        return fail(err, BYRE_E_CORRUPT, "%s at %llu is not in the file", what,
                    (unsigned long long)offset);
    for (uint64_t i = first; i < end; i++) {
        if (c->used[i]++ != 0)
            return fail(err, BYRE_E_CORRUPT, "%s at %llu is used twice", what,
                        (unsigned long long)offset);
    }
    return BYRE_OK;
}

/* Counts the cluster that a guest cluster's entry names; *ret_mapped grows. */
static inline int count_entry(struct counted *c, uint64_t guest_cluster,
                              uint64_t raw, uint64_t *ret_mapped,
                              struct byre_error *err)
{
    const uint64_t cluster = qcow2_cluster_bytes(&c->header);
    const uint64_t host = raw & QCOW2_ENTRY_OFFSET_MASK;
    const bool data_file =
        (c->header.incompatible & QCOW2_INCOMPAT_DATA_FILE) != 0;

    if (raw == 0)
        return BYRE_OK;
    ++*ret_mapped;
    if (data_file) {
        if (host == guest_cluster * cluster)
            return BYRE_OK;
        return fail(err, BYRE_E_CORRUPT, "entry %llx is elsewhere",
                    (unsigned long long)raw);
    }
    if ((raw & QCOW2_ENTRY_COPIED) == 0 || host == 0)
        return fail(err, BYRE_E_CORRUPT, "entry %llx is not COPIED",
                    (unsigned long long)raw);
    return count_part(c, host, cluster, "a guest cluster", err);
}

static inline int count_l2(struct counted *c, uint64_t l2_offset,
                           uint64_t first_cluster, uint64_t *ret_mapped,
                           struct byre_error *err)
{
    const uint64_t entry_bytes = qcow2_has_extended_l2(&c->header) ? 16 : 8;
    int r;

    r = count_part(c, l2_offset, qcow2_cluster_bytes(&c->header), "an L2 table",
                   err);
    for (uint32_t i = 0; r == BYRE_OK && i < qcow2_l2_entries(&c->header); i++)
        r = count_entry(c, first_cluster + i,
                        be64_get(c->bytes + l2_offset + i * entry_bytes),
                        ret_mapped, err);
    return r;
}

static inline int count_disk(struct counted *c, uint64_t *ret_mapped,
                             struct byre_error *err)
{
    int r;

    r = count_part(c, c->header.l1_offset, (uint64_t)c->header.l1_entries * 8,
                   "the L1 table", err);
    for (uint64_t i = 0; r == BYRE_OK && i < c->header.l1_entries; i++) {
        const uint64_t raw = be64_get(c->bytes + c->header.l1_offset + i * 8);

        if (raw == 0)
            continue;
        if ((raw & QCOW2_ENTRY_COPIED) == 0)
            return fail(err, BYRE_E_CORRUPT, "L1 entry is not COPIED");
        r = count_l2(c, raw & QCOW2_ENTRY_OFFSET_MASK,
                     i * qcow2_l2_entries(&c->header), ret_mapped, err);
    }
    return r;
}

static inline int count_luks(struct counted *c, struct byre_error *err)
{
    const size_t area = (size_t)(c->header.backing_offset != 0
                                     ? c->header.backing_offset
                                     : qcow2_cluster_bytes(&c->header));
    size_t position = c->header.header_bytes;
    struct qcow2_crypto_extension crypto;
    struct qcow2_extension record;
    int r;

    for (;;) {
        r = qcow2_extension_next(c->bytes, area, &position, &record, err);
        if (r <= 0)
            return r;
        if (record.type != QCOW2_EXT_CRYPTO)
            continue;
        r = qcow2_crypto_extension_decode(&record, c->header.cluster_bits,
                                          &crypto, err);
        if (r == BYRE_OK)
            r = count_part(c, crypto.offset, crypto.length, "the LUKS area",
                           err);
        if (r < 0)
            return r;
    }
}

static inline int count_refcounts(struct counted *c, struct byre_error *err)
{
    const uint64_t cluster = qcow2_cluster_bytes(&c->header);
    const uint64_t table_bytes = c->header.refcount_table_clusters * cluster;
    int r;

    r = count_part(c, c->header.refcount_table_offset, table_bytes,
                   "the refcount table", err);
    for (uint64_t at = 0; r == BYRE_OK && at < table_bytes; at += 8) {
        const uint64_t block =
            be64_get(c->bytes + c->header.refcount_table_offset + at);

        if (block != 0)
            r = count_part(c, block, cluster, "a refcount block", err);
    }
    return r;
}

/* Every count there is says what was found; what has none is not used. */
static inline int compare_counts(const struct counted *c,
                                 struct byre_error *err)
{
    const uint64_t per_block =
        refcounts_per_block(c->header.cluster_bits, c->header.refcount_order);
    const uint64_t blocks =
        c->header.refcount_table_clusters * qcow2_cluster_bytes(&c->header) / 8;

    for (uint64_t i = 0; i < max_u64(blocks * per_block, c->clusters); i++) {
        const uint64_t found = i < c->clusters ? c->used[i] : 0;
        const uint64_t block =
            i / per_block < blocks
                ? be64_get(c->bytes + c->header.refcount_table_offset +
                           i / per_block * 8)
                : 0;
        const uint64_t count =
            block == 0 ? 0
                       : refcount_get(c->bytes + block, i % per_block,
                                      c->header.refcount_order);

        if (block == 0 && i % per_block == 0 && i >= c->clusters)
            i += per_block - 1;
        if (count != found || (i < c->clusters && found != 1))
            return fail(err, BYRE_E_CORRUPT,
                        "cluster %llu is used %llu times and counted %llu",
                        (unsigned long long)i, (unsigned long long)found,
                        (unsigned long long)count);
    }
    return BYRE_OK;
}

/* Fails unless the store holds a new image without a leak; tells its size and
   how many guest clusters it maps. */
static inline int count_image(struct byre_store *store,
                              uint64_t *ret_disk_bytes, uint64_t *ret_mapped,
                              struct byre_error *err)
{
    struct counted c = { 0 };
    int r;

    *ret_mapped = 0;
    r = counted_load(&c, store, err);
    if (r == BYRE_OK)
        r = count_part(&c, 0, 1, "the header", err);
    if (r == BYRE_OK)
        r = count_refcounts(&c, err);
    if (r == BYRE_OK)
        r = count_disk(&c, ret_mapped, err);
    if (r == BYRE_OK)
        r = count_luks(&c, err);
    if (r == BYRE_OK)
        r = compare_counts(&c, err);
    *ret_disk_bytes = c.header.size_bytes;
    counted_done(&c);
    return r;
}

/* Whether anybody would take it for an image of the family. */
static inline bool has_magic(struct byre_store *store)
{
    uint8_t start[4];

    assert_int_equal(store_read(store, 0, start, sizeof(start), NULL), BYRE_OK);
    return be32_get(start) == QCOW_MAGIC;
}

static inline struct byre_store *new_memory(const void *bytes, size_t length)
{
    struct byre_store *store = NULL;

    assert_int_equal(byre_store_new_memory(bytes, length, &store, NULL),
                     BYRE_OK);
    return store;
}

#endif
