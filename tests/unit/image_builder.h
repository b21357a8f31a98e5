/* SPDX-License-Identifier: MIT */
/*
 * A small image in memory for tests of the engines: header, L1, one L2 table,
 * and whatever entries and bytes a test puts there.
 */
#ifndef BYRE_TESTS_IMAGE_BUILDER_H
#define BYRE_TESTS_IMAGE_BUILDER_H

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"
#include "byre.h"
#include "format/entry.h"
#include "format/header.h"

#define BUILDER_CLUSTER_BITS 16
#define BUILDER_CLUSTER      65536u
#define BUILDER_FILE_BYTES   (16u * BUILDER_CLUSTER)
#define BUILDER_L1           (3u * BUILDER_CLUSTER)
#define BUILDER_L2           (4u * BUILDER_CLUSTER)
#define BUILDER_FIRST_DATA   (5u * BUILDER_CLUSTER)

struct builder {
    uint8_t *bytes;
    size_t length;
    struct qcow2_header header;
};

/* A disk of `clusters` clusters, all unallocated. */
static inline void builder_init(struct builder *b, uint32_t clusters)
{
    b->bytes = calloc(1, BUILDER_FILE_BYTES);
    b->length = BUILDER_FILE_BYTES;
    b->header = (struct qcow2_header){
        .version = 3,
        .cluster_bits = BUILDER_CLUSTER_BITS,
        .size_bytes = (uint64_t)clusters * BUILDER_CLUSTER,
        .l1_entries = 1,
        .l1_offset = BUILDER_L1,
        .refcount_table_offset = BUILDER_CLUSTER,
        .refcount_table_clusters = 1,
        .refcount_order = 4,
        .header_bytes = QCOW2_HEADER_BYTES,
    };
    be64_put(b->bytes + BUILDER_L1, BUILDER_L2 | QCOW2_ENTRY_COPIED);
}

static inline void builder_done(struct builder *b)
{
    free(b->bytes);
}

static inline void builder_entry(struct builder *b, uint32_t cluster,
                                 uint64_t entry)
{
    be64_put(b->bytes + BUILDER_L2 + cluster * 8, entry);
}

/* Fills the guest cluster with `byte`, stored at data cluster `slot`. */
static inline void builder_data(struct builder *b, uint32_t cluster,
                                uint32_t slot, int byte)
{
    const uint64_t host = BUILDER_FIRST_DATA + slot * BUILDER_CLUSTER;

    memset(b->bytes + host, byte, BUILDER_CLUSTER);
    builder_entry(b, cluster, host | QCOW2_ENTRY_COPIED);
}

/* The same, as a deflate stream that starts `skip` bytes into the slot. */
static inline void builder_compressed(struct builder *b, uint32_t cluster,
                                      uint32_t slot, uint32_t skip, int byte)
{
    const uint64_t host = BUILDER_FIRST_DATA + slot * BUILDER_CLUSTER + skip;
    const struct l2_format format = { .version = 3,
                                      .cluster_bits = BUILDER_CLUSTER_BITS };
    uint8_t *plain = malloc(BUILDER_CLUSTER);
    struct l2_entry entry = { .kind = L2_COMPRESSED, .host_offset = host };
    z_stream stream = { 0 };

    memset(plain, byte, BUILDER_CLUSTER);
    deflateInit2(&stream, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
    stream.next_in = plain;
    stream.avail_in = BUILDER_CLUSTER;
    stream.next_out = b->bytes + host;
    stream.avail_out = BUILDER_CLUSTER - skip;
    deflate(&stream, Z_FINISH);
    entry.compressed_bytes = (uint32_t)stream.total_out;
    deflateEnd(&stream);
    free(plain);
    builder_entry(b, cluster, l2_entry_encode(&entry, false, &format));
}

/* Writes the header; what the test wants to lie about it changes before. */
static inline void builder_finish(struct builder *b)
{
    qcow2_header_encode(&b->header, NULL, b->bytes);
}

static inline struct byre_store *builder_store(struct builder *b)
{
    struct byre_store *store = NULL;

    builder_finish(b);
    byre_store_new_memory(b->bytes, b->length, &store, NULL);
    return store;
}

#endif
