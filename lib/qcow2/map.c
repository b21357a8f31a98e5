/* SPDX-License-Identifier: MIT */
/*
 * Where a guest range is: the only code that walks L1 and L2.
 *
 *   guest offset = L1 index | L2 index | offset in the cluster
 *
 * A step looks at cached tables only.  It answers, or says which slice of an L2
 * table it needs; the caller loads that slice and steps again.
 */
#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

#define STEP_NEEDS_TABLE 1

/* Bytes from `guest_offset` to the end of a block of 2^bits, at most length. */
static uint64_t rest_of_block(uint64_t guest_offset, uint64_t block_bytes,
                              uint64_t length)
{
    return min_u64(length, block_bytes - (guest_offset & (block_bytes - 1)));
}

static struct raw_entry raw_entry_at(const struct qcow2 *qcow2,
                                     const struct table_view *view,
                                     uint32_t index)
{
    const uint32_t first = index * qcow2->entry_words;

    return (struct raw_entry){
        .word = table_view_word(view, first),
        .bitmap =
            qcow2->entry_words == 2 ? table_view_word(view, first + 1) : 0,
    };
}

/*
 * With an external data file a cluster lies where the guest sees it; any other
 * place is corruption (measured on QEMU 7.2).
 */
static bool is_misplaced(const struct qcow2 *qcow2, enum l2_kind kind,
                         uint64_t host_offset, uint64_t guest_cluster)
{
    return qcow2->l2_format.data_file &&
           (kind == L2_DATA || kind == L2_ZERO_ALLOC || kind == L2_RESERVED) &&
           host_offset != guest_cluster;
}

struct piece qcow2_decode_piece(const struct qcow2 *qcow2, struct raw_entry raw,
                                uint64_t guest_offset)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t in_cluster = guest_offset & (cluster - 1);
    const struct l2_entry entry = l2_entry_decode(raw.word, &qcow2->l2_format);
    struct piece piece = {
        .kind = entry.kind,
        .copied =
            (raw.word & QCOW2_ENTRY_COPIED) != 0 && entry.kind != L2_COMPRESSED,
        .host_offset = entry.host_offset,
        .bytes = cluster - in_cluster,
        .compressed_bytes = entry.compressed_bytes,
    };

    if (qcow2->l2_format.extended && entry.kind != L2_INVALID &&
        entry.kind != L2_COMPRESSED) {
        const uint64_t subcluster = cluster / QCOW2_SUBCLUSTERS;
        const uint32_t index = (uint32_t)(in_cluster / subcluster);
        uint32_t count;

        piece.kind = l2_subcluster_kind(raw.word, raw.bitmap, index,
                                        &qcow2->l2_format, &count);
        piece.bytes = (index + count) * subcluster - in_cluster;
    }
    if (is_misplaced(qcow2, piece.kind, entry.host_offset,
                     guest_offset - in_cluster))
        piece.kind = L2_INVALID;
    if (piece.kind != L2_COMPRESSED)
        piece.host_offset += in_cluster;
    return piece;
}

static bool kind_has_host(enum l2_kind kind)
{
    return kind == L2_DATA || kind == L2_ZERO_ALLOC || kind == L2_RESERVED ||
           kind == L2_COMPRESSED;
}

/* Whether `next`, `run` bytes on, goes on where `first` does. */
static bool piece_continues(const struct piece *first, const struct piece *next,
                            uint64_t run)
{
    return next->kind == first->kind && next->copied == first->copied &&
           (!kind_has_host(first->kind) ||
            next->host_offset == first->host_offset + run);
}

/* The run within one slice that starts at entry `index` of it. */
static void map_in_slice(const struct qcow2 *qcow2,
                         const struct table_view *view, uint32_t index,
                         uint64_t guest_offset, uint64_t length,
                         bool owns_table, struct mapping *ret)
{
    const uint32_t entries = UINT32_C(1) << qcow2->slice_bits;
    const struct raw_entry raw = raw_entry_at(qcow2, view, index);
    const struct piece first = qcow2_decode_piece(qcow2, raw, guest_offset);
    uint64_t run = first.bytes;

    while (first.kind != L2_COMPRESSED && first.kind != L2_INVALID &&
           run < length && ++index < entries &&
           ((guest_offset + run) &
            (engine_cluster_bytes(&qcow2->engine) - 1)) == 0) {
        const struct piece next = qcow2_decode_piece(
            qcow2, raw_entry_at(qcow2, view, index), guest_offset + run);

        if (!piece_continues(&first, &next, run))
            break;
        run += next.bytes;
    }

    *ret = (struct mapping){
        .kind = first.kind,
        .length = min_u64(run, length),
        .store = kind_has_host(first.kind) ? qcow2->data_store : NULL,
        .host_offset = first.host_offset,
        .compressed_bytes = first.compressed_bytes,
        .in_place = owns_table && first.copied && first.kind == L2_DATA,
        .table = "L2",
        .entry = raw.word,
        .bitmap = raw.bitmap,
    };
}

struct slice_place qcow2_slice_place(const struct qcow2 *qcow2,
                                     uint64_t l2_offset, uint64_t guest_offset)
{
    const uint64_t cluster_index = guest_offset >> qcow2->header.cluster_bits;
    const uint32_t l2_index =
        (uint32_t)(cluster_index & ((UINT64_C(1) << qcow2->l2_bits) - 1));
    const uint64_t slice_bytes = (UINT64_C(8) * qcow2->entry_words)
                                 << qcow2->slice_bits;

    return (struct slice_place){
        .host_offset =
            l2_offset + (l2_index >> qcow2->slice_bits) * slice_bytes,
        .index = l2_index & ((UINT32_C(1) << qcow2->slice_bits) - 1),
    };
}

/* Answers, or STEP_NEEDS_TABLE and which slice. */
static int map_step(struct qcow2 *qcow2, uint64_t guest_offset, uint64_t length,
                    struct mapping *ret, uint64_t *ret_slice_offset)
{
    const uint64_t range_bytes = qcow2_l1_range_bytes(qcow2);
    const uint64_t l1_entry = l1_get(&qcow2->l1, guest_offset / range_bytes);
    const bool owns_table = (l1_entry & QCOW2_ENTRY_COPIED) != 0;
    struct slice_place place;
    struct table_view view;
    uint64_t l2_offset;

    if (!l1_entry_decode(l1_entry, qcow2->header.cluster_bits, &l2_offset)) {
        *ret = (struct mapping){
            .kind = L2_INVALID,
            .length = rest_of_block(guest_offset, range_bytes, length),
            .table = "L1",
            .entry = l1_entry,
        };
        return BYRE_OK;
    }
    if (l2_offset == 0) {
        engine_map_gap(&qcow2->l1, QCOW2_ENTRY_OFFSET_MASK, range_bytes,
                       guest_offset, length, ret);
        return BYRE_OK;
    }

    place = qcow2_slice_place(qcow2, l2_offset, guest_offset);
    *ret_slice_offset = place.host_offset;
    do {
        if (!table_cache_find(qcow2->tables, place.host_offset, &view))
            return STEP_NEEDS_TABLE;
        map_in_slice(qcow2, &view, place.index, guest_offset, length,
                     owns_table, ret);
    } while (!table_view_still_valid(&view));
    return BYRE_OK;
}

static int load_slice(struct qcow2 *qcow2, uint64_t slice_offset,
                      struct byre_error *err)
{
    if (writer_is_set_up(&qcow2->writer))
        return writer_load_slice_to_read(&qcow2->writer, slice_offset, err);
    return table_cache_load(qcow2->tables, slice_offset, err);
}

/* Maps by a slice for which there is no room in the cache. */
static int map_past_cache(struct qcow2 *qcow2, uint64_t guest_offset,
                          uint64_t length, uint64_t slice_offset,
                          struct mapping *ret, struct byre_error *err)
{
    struct table_copy copy;
    struct table_view view;
    int r;

    r = table_cache_peek(qcow2->tables, slice_offset, &copy, &view, err);
    if (r == BYRE_OK)
        map_in_slice(qcow2, &view,
                     qcow2_slice_place(qcow2, 0, guest_offset).index,
                     guest_offset, length, false, ret);
    return r;
}

int qcow2_map(struct engine *engine, uint64_t guest_offset, uint64_t length,
              struct mapping *ret, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    uint64_t slice_offset = 0;
    int r;

    for (;;) {
        r = map_step(qcow2, guest_offset, length, ret, &slice_offset);
        if (r != STEP_NEEDS_TABLE)
            return r;

        r = load_slice(qcow2, slice_offset, err);
        if (r == TABLE_CACHE_FULL)
            return map_past_cache(qcow2, guest_offset, length, slice_offset,
                                  ret, err);
        if (r < 0)
            return r;
    }
}

/* ---- What is missing ---- */

static int fail_missing(struct byre_error *err, const char *table,
                        uint64_t place, uint64_t file_bytes)
{
    return fail_at(err, BYRE_E_CORRUPT, place,
                   "its %s entry at %llu lies past the end of the file, %llu",
                   table, (unsigned long long)place,
                   (unsigned long long)file_bytes);
}

/* With an L2 table: its entries that lie in the file, or those that do not. */
static int find_loss_in_table(const struct qcow2 *qcow2, uint64_t l2_offset,
                              uint64_t file_bytes, uint64_t guest_offset,
                              uint64_t *length, struct byre_error *err)
{
    const uint64_t entry_bytes = UINT64_C(8) * qcow2->entry_words;
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t index = guest_offset % range / cluster;
    const uint64_t place = l2_offset + index * entry_bytes;

    *length = rest_of_block(guest_offset, range, *length);
    if (place + entry_bytes > file_bytes)
        return fail_missing(err, "L2", place, file_bytes);
    *length = min_u64(*length, (file_bytes - place) / entry_bytes * cluster -
                                   guest_offset % cluster);
    return BYRE_OK;
}

int qcow2_find_loss(struct engine *engine, uint64_t guest_offset,
                    uint64_t length, uint64_t *ret_length,
                    struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    const uint64_t index = guest_offset / range;
    uint64_t file_bytes, l2_offset = 0;
    struct mapping gap;
    int r;

    *ret_length = length;
    r = store_get_size(qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;
    if (qcow2->l1.offset + (index + 1) * 8 > file_bytes)
        return fail_missing(err, "L1", qcow2->l1.offset + index * 8,
                            file_bytes);

    *ret_length = rest_of_block(guest_offset, range, length);
    if (!l1_entry_decode(l1_get(&qcow2->l1, index), qcow2->header.cluster_bits,
                         &l2_offset))
        return BYRE_OK; /* map says so */
    *ret_length = length;
    if (l2_offset != 0)
        return find_loss_in_table(qcow2, l2_offset, file_bytes, guest_offset,
                                  ret_length, err);
    engine_map_gap(
        &qcow2->l1, QCOW2_ENTRY_OFFSET_MASK, range, guest_offset,
        min_u64(length, ((file_bytes - qcow2->l1.offset) / 8 - index) * range -
                            guest_offset % range),
        &gap);
    *ret_length = gap.length;
    return BYRE_OK;
}
