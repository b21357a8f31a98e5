/* SPDX-License-Identifier: MIT */
/*
 * The tables of bitmaps in the file: reading the bits they refer to, and
 * listing the clusters they are made of.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/internal.h"

/* Of all bitmaps of an image, when they are loaded. */
#define MAX_BITS_BYTES (UINT64_C(1) << 30)

uint64_t bitmap_bit_count(const struct qcow2 *qcow2,
                          const struct bitmap *bitmap)
{
    return div_round_up(qcow2->engine.size_bytes,
                        UINT64_C(1) << bitmap->granularity_bits);
}

/* ---- Reading a table ---- */

/* One that is not used while `user` looks at its entries. */
struct table_reader {
    struct qcow2 *qcow2;
    struct bitmap_place place;
    uint64_t file_bytes; /* to the end of its last cluster */
    uint64_t clusters;   /* of data seen so far */
    int (*entry)(void *user, uint64_t index, enum bitmap_cluster_kind kind,
                 uint64_t host_offset, struct byre_error *err);
    void *user;
};

/* What is in a file of its own cannot be more than the file. */
static int check_cluster(struct table_reader *reader, uint64_t index,
                         uint64_t host_offset, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&reader->qcow2->engine);

    if (!range_within(host_offset, cluster, reader->file_bytes))
        return fail_at(err, BYRE_E_CORRUPT, reader->place.offset + index * 8,
                       "entry %" PRIu64 " of a bitmap table points to %" PRIu64
                       ", past the end of the file",
                       index, host_offset);
    reader->clusters++;
    if (reader->clusters > reader->file_bytes / cluster)
        return fail_at(err, BYRE_E_CORRUPT, reader->place.offset,
                       "a bitmap table refers to more clusters than the file "
                       "has");
    return BYRE_OK;
}

static int read_entry(struct table_reader *reader, uint64_t index,
                      const uint8_t *raw, struct byre_error *err)
{
    enum bitmap_cluster_kind kind;
    uint64_t host_offset;
    int r = BYRE_OK;

    if (!qcow2_bitmap_table_entry_decode(be64_get(raw),
                                         reader->qcow2->header.cluster_bits,
                                         &kind, &host_offset))
        return fail_at(err, BYRE_E_CORRUPT, reader->place.offset + index * 8,
                       "entry %" PRIu64 " of a bitmap table, 0x%016" PRIx64
                       ", cannot be",
                       index, be64_get(raw));
    if (kind == BITMAP_CLUSTER_DATA)
        r = check_cluster(reader, index, host_offset, err);
    return r < 0 ? r
                 : reader->entry(reader->user, index, kind, host_offset, err);
}

static int check_table(struct table_reader *reader, struct byre_error *err)
{
    uint64_t file_bytes;
    int r;

    r = store_get_size(reader->qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;
    reader->file_bytes =
        align_up(file_bytes, engine_cluster_bytes(&reader->qcow2->engine));
    if (!range_within(reader->place.offset, UINT64_C(8) * reader->place.entries,
                      file_bytes))
        return fail_at(err, BYRE_E_CORRUPT, reader->place.offset,
                       "a bitmap table of %" PRIu32 " entries at %" PRIu64
                       " ends past the file's %" PRIu64 " bytes",
                       reader->place.entries, reader->place.offset, file_bytes);
    return BYRE_OK;
}

#define PIECE_ENTRIES 512

static int read_table(struct table_reader *reader, struct byre_error *err)
{
    uint8_t piece[PIECE_ENTRIES * 8];
    int r;

    r = check_table(reader, err);
    for (uint64_t i = 0; i < reader->place.entries && r == BYRE_OK;) {
        const uint64_t n = min_u64(PIECE_ENTRIES, reader->place.entries - i);

        r = store_read(reader->qcow2->store, reader->place.offset + i * 8,
                       piece, (size_t)n * 8, err);
        for (uint64_t j = 0; j < n && r == BYRE_OK; j++)
            r = read_entry(reader, i + j, piece + j * 8, err);
        i += n;
    }
    return r;
}

/* ---- The bits ---- */

struct bits_reader {
    struct qcow2 *qcow2;
    struct dirty_bits bits;
    uint8_t *buf; /* a cluster */
};

static int take_cluster(void *user, uint64_t index,
                        enum bitmap_cluster_kind kind, uint64_t host_offset,
                        struct byre_error *err)
{
    struct bits_reader *reader = user;
    const uint64_t cluster = engine_cluster_bytes(&reader->qcow2->engine);
    const uint64_t first = index * cluster * 8;
    int r;

    switch (kind) {
    case BITMAP_CLUSTER_ZEROES:
        return BYRE_OK;
    case BITMAP_CLUSTER_ONES:
        return dirty_bits_set(&reader->bits, first, cluster * 8, err);
    case BITMAP_CLUSTER_DATA:
        break;
    }
    r = store_read(reader->qcow2->store, host_offset, reader->buf,
                   (size_t)cluster, err);
    if (r < 0)
        return r;
    return dirty_bits_import(&reader->bits, first, reader->buf, (size_t)cluster,
                             err);
}

static int read_bits(struct qcow2 *qcow2, struct bitmap *bitmap,
                     struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    struct bits_reader bits = { .qcow2 = qcow2, .buf = malloc(cluster) };
    struct table_reader reader = { .qcow2 = qcow2,
                                   .place = bitmap->place,
                                   .entry = take_cluster,
                                   .user = &bits };
    int r;

    if (bits.buf == NULL)
        return fail_nomem(err, "a part of a bitmap", (size_t)cluster);
    r = dirty_bits_init(&bits.bits, bitmap_bit_count(qcow2, bitmap), err);
    if (r == BYRE_OK)
        r = read_table(&reader, err);
    free(bits.buf);
    if (r < 0) {
        dirty_bits_done(&bits.bits);
        return r;
    }
    atomic_store(&bits.bits.changed, false);
    bitmap->bits = bits.bits;
    bitmap->has_bits = true;
    qcow2->bitmaps.held_bytes += dirty_bits_held_bytes(&bitmap->bits);
    return BYRE_OK;
}

int bitmap_load_bits(struct qcow2 *qcow2, struct bitmap *bitmap,
                     struct byre_error *err)
{
    int r;

    if (bitmap->has_bits)
        return BYRE_OK;
    if (qcow2->bitmaps.held_bytes > MAX_BITS_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the bitmaps before bitmap '%s' take %" PRIu64
                    " bytes of memory, more than the limit of %" PRIu64
                    ": remove some",
                    bitmap->name, qcow2->bitmaps.held_bytes, MAX_BITS_BYTES);
    r = read_bits(qcow2, bitmap, err);
    if (r < 0)
        error_prefix(err, "bitmap '%s'", bitmap->name);
    return r;
}

/* ---- Clusters ---- */

int bitmap_clusters_add(struct offset_list *list, const struct qcow2 *qcow2,
                        uint64_t offset, uint64_t bytes, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    int r = BYRE_OK;

    for (uint64_t at = align_down(offset, cluster);
         at < offset + bytes && r == BYRE_OK; at += cluster)
        r = offset_list_add(list, at, err);
    return r;
}

static int list_cluster(void *user, uint64_t index,
                        enum bitmap_cluster_kind kind, uint64_t host_offset,
                        struct byre_error *err)
{
    (void)index;
    if (kind != BITMAP_CLUSTER_DATA)
        return BYRE_OK;
    return offset_list_add(user, host_offset, err);
}

int bitmap_clusters_add_table(struct offset_list *list, struct qcow2 *qcow2,
                              const struct bitmap_place *place,
                              struct byre_error *err)
{
    struct table_reader reader = {
        .qcow2 = qcow2, .place = *place, .entry = list_cluster, .user = list
    };
    int r;

    if (place->entries == 0)
        return BYRE_OK;
    r = read_table(&reader, err);
    if (r < 0)
        return r;
    return bitmap_clusters_add(list, qcow2, place->offset,
                               UINT64_C(8) * place->entries, err);
}
