/* SPDX-License-Identifier: MIT */
/*
 * Version 1 has two tables and nothing else: no refcounts, extensions, zero
 * clusters or snapshots.  The L1 table has no length of its own; it follows
 * from the disk's size.
 */
#include "qcow1/qcow1.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "engine/l1.h"
#include "engine/table_cache.h"
#include "engine/transfer.h"
#include "format/qcow1.h"

struct qcow1 {
    struct engine engine; /* first, so that the two convert */
    struct byre_store *store;
    struct engine_limits limits;
    struct qcow1_header header;
    uint32_t slice_bits; /* log2 of the entries of a slice of an L2 table */
    struct l1_table l1;
    struct table_cache *tables;
    struct transfer transfer;
};

static struct qcow1 *qcow1_of(struct engine *engine)
{
    return (struct qcow1 *)engine;
}

/* ---- Where a range is ---- */

static uint64_t l1_range_bytes(const struct qcow1 *qcow1)
{
    return UINT64_C(1) << (qcow1->header.cluster_bits + qcow1->header.l2_bits);
}

static bool continues(const struct l2_entry *first, const struct l2_entry *next,
                      uint64_t run_from_cluster)
{
    return next->kind == first->kind &&
           (first->kind == L2_UNALLOCATED ||
            next->host_offset == first->host_offset + run_from_cluster);
}

/* A cluster past the largest offset there is is a lie, not a hole. */
static struct l2_entry decode_entry(uint64_t raw, uint32_t cluster_bits)
{
    struct l2_entry entry = qcow1_l2_entry_decode(raw, cluster_bits);

    if (entry.kind == L2_DATA &&
        !range_within(entry.host_offset, UINT64_C(1) << cluster_bits,
                      STORE_MAX_OFFSET))
        entry = (struct l2_entry){ .kind = L2_INVALID };
    return entry;
}

/* The run within one slice that starts at entry `index` of it. */
static void map_in_slice(const struct qcow1 *qcow1,
                         const struct table_view *view, uint32_t index,
                         uint64_t guest_offset, uint64_t length,
                         struct mapping *ret)
{
    const uint32_t bits = qcow1->header.cluster_bits;
    const uint64_t cluster = UINT64_C(1) << bits;
    const uint64_t in_cluster = guest_offset & (cluster - 1);
    const uint64_t raw = table_view_word(view, index);
    const struct l2_entry first = decode_entry(raw, bits);
    uint64_t run = cluster; /* from the start of the first cluster */

    while ((first.kind == L2_UNALLOCATED || first.kind == L2_DATA) &&
           run < length + in_cluster &&
           ++index < UINT32_C(1) << qcow1->slice_bits) {
        const struct l2_entry next =
            decode_entry(table_view_word(view, index), bits);

        if (!continues(&first, &next, run))
            break;
        run += cluster;
    }

    *ret = (struct mapping){
        .kind = first.kind,
        .length = min_u64(run - in_cluster, length),
        .store = first.kind == L2_DATA || first.kind == L2_COMPRESSED
                     ? qcow1->store
                     : NULL,
        .host_offset =
            first.host_offset + (first.kind == L2_DATA ? in_cluster : 0),
        .compressed_bytes = first.compressed_bytes,
        .table = "L2",
        .entry = raw,
    };
}

static int qcow1_map(struct engine *engine, uint64_t guest_offset,
                     uint64_t length, struct mapping *ret,
                     struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    const uint64_t l1_index = guest_offset / l1_range_bytes(qcow1);
    const uint64_t l2_offset = l1_get(&qcow1->l1, l1_index);
    const uint64_t l2_index = (guest_offset >> qcow1->header.cluster_bits) &
                              ((UINT64_C(1) << qcow1->header.l2_bits) - 1);
    const uint64_t slice_offset =
        l2_offset + ((l2_index >> qcow1->slice_bits) << qcow1->slice_bits) * 8;
    struct table_view view;
    int r;

    if (l2_offset == 0) {
        engine_map_gap(&qcow1->l1, UINT64_MAX, l1_range_bytes(qcow1),
                       guest_offset, length, ret);
        return BYRE_OK;
    }
    if (!range_within(l2_offset, UINT64_C(8) << qcow1->header.l2_bits,
                      STORE_MAX_OFFSET)) {
        *ret = (struct mapping){
            .kind = L2_INVALID,
            .length = min_u64(length, l1_range_bytes(qcow1) -
                                          guest_offset % l1_range_bytes(qcow1)),
            .table = "L1",
            .entry = l2_offset,
        };
        return BYRE_OK;
    }

    for (;;) {
        while (table_cache_find(qcow1->tables, slice_offset, &view)) {
            map_in_slice(
                qcow1, &view,
                (uint32_t)(l2_index & ((UINT64_C(1) << qcow1->slice_bits) - 1)),
                guest_offset, length, ret);
            if (table_view_still_valid(&view))
                return BYRE_OK;
        }
        r = table_cache_load(qcow1->tables, slice_offset, err);
        if (r < 0)
            return r;
    }
}

/* ---- Reading ---- */

static int fail_invalid_entry(const struct mapping *mapping,
                              uint64_t guest_offset, struct byre_error *err)
{
    const char *why = "is no multiple of 512";

    if (strcmp(mapping->table, "L1") == 0 ||
        (mapping->entry >> 63 == 0 && mapping->entry % 512 == 0))
        why = "points past the largest offset there is";
    else if (mapping->entry >> 63 != 0)
        why = "is a compressed cluster of 0 bytes";
    return fail(err, BYRE_E_CORRUPT,
                "%s entry 0x%016" PRIx64 " of guest offset %" PRIu64 " %s",
                mapping->table, mapping->entry, guest_offset, why);
}

static int qcow1_read(struct engine *engine, const struct mapping *mapping,
                      uint64_t guest_offset, void *buf, size_t length,
                      struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);

    if (mapping->kind != L2_DATA && mapping->kind != L2_COMPRESSED)
        return fail_invalid_entry(mapping, guest_offset, err);
    return transfer_read(&qcow1->transfer, engine, mapping, guest_offset, buf,
                         length, err);
}

/* ---- The engine's steps ---- */

static void describe(struct engine *engine, struct byre_info *info)
{
    (void)engine;
    info->version = 1;
    info->compression_type = "zlib";
}

static int unlock(struct engine *engine, const void *passphrase,
                  size_t passphrase_bytes, struct byre_error *err)
{
    return sector_cipher_new_aes(passphrase, passphrase_bytes,
                                 &qcow1_of(engine)->transfer.cipher, err);
}

static int prepare(struct engine *engine,
                   const struct snapshot_selector *selector,
                   struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    uint64_t cache_bytes;
    int r;

    if (snapshot_is_selected(selector))
        return fail(err, BYRE_E_NOT_FOUND,
                    "a version 1 image has no snapshots");

    r = l1_load(&qcow1->l1, qcow1->store, qcow1->header.l1_offset,
                qcow1_l1_entries(&qcow1->header), qcow1->limits.max_table_bytes,
                err);
    if (r < 0)
        return r;

    /* All L2 tables of the disk: the cache need not be larger. */
    cache_bytes = min_u64(qcow1->limits.table_cache_bytes,
                          (engine->size_bytes >> engine->cluster_bits) * 8);
    r = table_cache_new(qcow1->store, UINT32_C(8) << qcow1->slice_bits,
                        cache_bytes, &qcow1->tables, err);
    if (r < 0)
        return r;
    return cluster_reader_new(
        CODEC_DEFLATE, (uint32_t)engine_cluster_bytes(engine),
        qcow1->limits.cluster_cache_bytes, &qcow1->transfer.clusters, err);
}

static bool may_have_holes(struct engine *engine)
{
    (void)engine;
    return false;
}

static void qcow1_free(struct engine *engine)
{
    struct qcow1 *qcow1 = qcow1_of(engine);

    l1_done(&qcow1->l1);
    table_cache_free(qcow1->tables);
    transfer_done(&qcow1->transfer);
    byre_store_unref(qcow1->store);
    engine_done(engine);
    free(qcow1);
}

static const struct engine_ops qcow1_ops = {
    .describe = describe,
    .unlock = unlock,
    .prepare = prepare,
    .map = qcow1_map,
    .read = qcow1_read,
    .may_have_holes = may_have_holes,
    .free = qcow1_free,
};

static int read_header(struct qcow1 *qcow1, struct byre_error *err)
{
    uint8_t buf[QCOW1_HEADER_BYTES];
    const struct qcow1_header *header = &qcow1->header;
    int r;

    r = store_read(qcow1->store, 0, buf, sizeof(buf), err);
    if (r < 0)
        return r;

    r = qcow1_header_decode(buf, sizeof(buf), &qcow1->header, err);
    if (r < 0)
        return r;

    qcow1->engine.size_bytes =
        align_down(header->size_bytes, ENGINE_SECTOR_BYTES);
    qcow1->engine.cluster_bits = header->cluster_bits;
    qcow1->engine.encryption =
        header->crypt_method != 0 ? BYRE_ENCRYPTION_AES : BYRE_ENCRYPTION_NONE;
    qcow1->slice_bits = (uint32_t)min_u64(header->l2_bits, 9);
    if (header->backing_offset == 0 || header->backing_bytes == 0)
        return BYRE_OK;
    return engine_read_string(qcow1->store, header->backing_offset,
                              header->backing_bytes,
                              &qcow1->engine.backing_name, err);
}

int qcow1_open(struct byre_store *store, const struct engine_limits *limits,
               struct engine **ret_engine, struct byre_error *err)
{
    struct qcow1 *qcow1 = calloc(1, sizeof(*qcow1));
    int r;

    if (qcow1 == NULL)
        return fail_nomem(err, "an image", sizeof(*qcow1));

    engine_init(&qcow1->engine, &qcow1_ops);
    l1_init(&qcow1->l1);
    qcow1->engine.format = "qcow";
    qcow1->store = store_ref(store);
    qcow1->limits = *limits;
    r = read_header(qcow1, err);
    if (r < 0) {
        qcow1_free(&qcow1->engine);
        return r;
    }
    *ret_engine = &qcow1->engine;
    return BYRE_OK;
}
