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
#include "qcow1/check.h"

/* ---- Where a range is ---- */

static bool continues(const struct l2_entry *first, const struct l2_entry *next,
                      uint64_t run_from_cluster)
{
    return next->kind == first->kind &&
           (first->kind == L2_UNALLOCATED ||
            next->host_offset == first->host_offset + run_from_cluster);
}

/* A cluster past the largest offset there is is a lie, not a hole. */
struct l2_entry qcow1_decode_entry(const struct qcow1 *qcow1, uint64_t raw)
{
    const uint32_t bits = qcow1->header.cluster_bits;
    struct l2_entry entry = qcow1_l2_entry_decode(raw, bits);

    if (entry.kind == L2_DATA &&
        !range_within(entry.host_offset, UINT64_C(1) << bits, STORE_MAX_OFFSET))
        entry = (struct l2_entry){ .kind = L2_INVALID };
    return entry;
}

/* The run within one slice that starts at entry `index` of it. */
static void map_in_slice(const struct qcow1 *qcow1,
                         const struct table_view *view, uint32_t index,
                         uint64_t guest_offset, uint64_t length,
                         struct mapping *ret)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow1->engine);
    const uint64_t in_cluster = guest_offset & (cluster - 1);
    const uint64_t raw = table_view_word(view, index);
    const struct l2_entry first = qcow1_decode_entry(qcow1, raw);
    uint64_t run = cluster; /* from the start of the first cluster */

    while ((first.kind == L2_UNALLOCATED || first.kind == L2_DATA) &&
           run < length + in_cluster &&
           ++index < UINT32_C(1) << qcow1->slice_bits) {
        const struct l2_entry next =
            qcow1_decode_entry(qcow1, table_view_word(view, index));

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
        .in_place = first.kind == L2_DATA, /* clusters are never shared */
        .table = "L2",
        .entry = raw,
    };
}

struct qcow1_place qcow1_slice_place(const struct qcow1 *qcow1,
                                     uint64_t l2_offset, uint64_t guest_offset)
{
    const uint64_t l2_index = (guest_offset >> qcow1->header.cluster_bits) &
                              ((UINT64_C(1) << qcow1->header.l2_bits) - 1);
    const uint64_t slice_bytes = UINT64_C(8) << qcow1->slice_bits;

    return (struct qcow1_place){
        .host_offset =
            l2_offset + (l2_index >> qcow1->slice_bits) * slice_bytes,
        .index =
            (uint32_t)(l2_index & ((UINT64_C(1) << qcow1->slice_bits) - 1)),
    };
}

/* What map_step() answers where a slice is missing. */
#define STEP_NEEDS_TABLE 1

/* Answers, or STEP_NEEDS_TABLE and which slice. */
static int map_step(struct qcow1 *qcow1, uint64_t guest_offset, uint64_t length,
                    struct mapping *ret, uint64_t *ret_slice_offset)
{
    const uint64_t range_bytes = qcow1_l1_range_bytes(qcow1);
    const uint64_t l2_offset = l1_get(&qcow1->l1, guest_offset / range_bytes);
    struct qcow1_place place;
    struct table_view view;

    if (l2_offset == 0) {
        engine_map_gap(&qcow1->l1, UINT64_MAX, range_bytes, guest_offset,
                       length, ret);
        return BYRE_OK;
    }
    if (!range_within(l2_offset, qcow1_l2_bytes(qcow1), STORE_MAX_OFFSET)) {
        *ret = (struct mapping){
            .kind = L2_INVALID,
            .length = min_u64(length, range_bytes - guest_offset % range_bytes),
            .table = "L1",
            .entry = l2_offset,
        };
        return BYRE_OK;
    }

    place = qcow1_slice_place(qcow1, l2_offset, guest_offset);
    *ret_slice_offset = place.host_offset;
    do {
        if (!table_cache_find(qcow1->tables, place.host_offset, &view))
            return STEP_NEEDS_TABLE;
        map_in_slice(qcow1, &view, place.index, guest_offset, length, ret);
    } while (!table_view_still_valid(&view));
    return BYRE_OK;
}

static int load_slice(struct qcow1 *qcow1, uint64_t slice_offset,
                      struct byre_error *err)
{
    if (writer_is_set_up(&qcow1->writer))
        return writer_load_slice_to_read(&qcow1->writer, slice_offset, err);
    return table_cache_load(qcow1->tables, slice_offset, err);
}

/* Maps by a slice for which there is no room in the cache. */
static int map_past_cache(struct qcow1 *qcow1, uint64_t guest_offset,
                          uint64_t length, uint64_t slice_offset,
                          struct mapping *ret, struct byre_error *err)
{
    struct table_copy copy;
    struct table_view view;
    int r;

    r = table_cache_peek(qcow1->tables, slice_offset, &copy, &view, err);
    if (r == BYRE_OK)
        map_in_slice(qcow1, &view,
                     qcow1_slice_place(qcow1, 0, guest_offset).index,
                     guest_offset, length, ret);
    return r;
}

static int qcow1_map(struct engine *engine, uint64_t guest_offset,
                     uint64_t length, struct mapping *ret,
                     struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    uint64_t slice_offset = 0;
    int r;

    for (;;) {
        r = map_step(qcow1, guest_offset, length, ret, &slice_offset);
        if (r != STEP_NEEDS_TABLE)
            return r;

        r = load_slice(qcow1, slice_offset, err);
        if (r == TABLE_CACHE_FULL)
            return map_past_cache(qcow1, guest_offset, length, slice_offset,
                                  ret, err);
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

    qcow1_writable_done(qcow1);
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
    .prepare_write = qcow1_prepare_write,
    .write = qcow1_write,
    .zero = qcow1_zero,
    .discard = qcow1_discard,
    .flush = qcow1_flush,
    .finish = qcow1_finish,
    .end_write = qcow1_end_write,
    .set_backing_name = qcow1_set_backing_name,
    .set_backing = qcow1_set_backing,
    .empty = qcow1_empty,
    .check = qcow1_check,
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
