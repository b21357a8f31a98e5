/* SPDX-License-Identifier: MIT */
/*
 * References in the L1 and L2 tables: of the active disk, and of snapshots.
 */
#include "base/arith.h"
#include "base/bytes.h"
#include "qcow2/reference_walk.h"

/* ---- L2 tables ---- */

/* spec: qcow2 "Extended L2 Entries". */
static uint32_t subcluster_faults(const struct l2_format *format, uint64_t raw,
                                  uint64_t bitmap)
{
    uint32_t count;

    if ((raw & QCOW2_ENTRY_COMPRESSED) != 0)
        return bitmap != 0 ? REFERENCE_SUBCLUSTERS : 0;
    return l2_subcluster_kind(raw, bitmap, 0, format, &count) == L2_INVALID
               ? REFERENCE_SUBCLUSTERS
               : 0;
}

static void decode_compressed(const struct l2_format *format,
                              struct reference *ref)
{
    /* As if there were no data file: that is a fault of its own. */
    const struct l2_format inside = {
        .version = format->version,
        .cluster_bits = format->cluster_bits,
        .extended = format->extended,
    };
    const struct l2_entry entry = l2_entry_decode(ref->raw, &inside);

    ref->owner = REFERENCE_COMPRESSED;
    ref->kind = L2_COMPRESSED;
    ref->offset = entry.host_offset;
    ref->bytes = entry.compressed_bytes;
    if (entry.kind == L2_INVALID)
        ref->faults |= REFERENCE_BEYOND_LIMIT;
    if (ref->copied)
        ref->faults |= REFERENCE_STRAY_COPIED;
    if (format->data_file)
        ref->faults |= REFERENCE_NOT_RAW;
}

static uint32_t standard_faults(const struct l2_format *format, uint64_t raw)
{
    uint32_t faults = 0;

    if ((raw & QCOW2_L2_RESERVED_MASK) != 0 ||
        (format->extended && (raw & QCOW2_ENTRY_ZERO) != 0))
        faults |= REFERENCE_RESERVED_BITS;
    if (format->version < 3 && (raw & QCOW2_ENTRY_ZERO) != 0)
        faults |= REFERENCE_ZERO_FLAG;
    if (!is_aligned(raw & QCOW2_ENTRY_OFFSET_MASK, UINT64_C(1)
                                                       << format->cluster_bits))
        faults |= REFERENCE_UNALIGNED;
    return faults;
}

static void decode_standard(const struct reference_walk *walk,
                            struct reference *ref)
{
    const struct l2_format *format = &walk->qcow2->l2_format;

    ref->offset = ref->raw & QCOW2_ENTRY_OFFSET_MASK;
    ref->kind = l2_entry_decode(ref->raw, format).kind;
    ref->faults |= standard_faults(format, ref->raw);
    if (ref->kind == L2_UNALLOCATED || ref->kind == L2_ZERO ||
        (ref->kind == L2_INVALID && ref->offset == 0)) {
        ref->owner = REFERENCE_NOTHING;
        ref->faults |= ref->copied ? REFERENCE_STRAY_COPIED : 0;
        return;
    }
    ref->bytes = walk->cluster_bytes;
    ref->owner = REFERENCE_DATA;
    if (format->data_file) {
        ref->owner = REFERENCE_EXTERNAL_DATA;
        ref->faults |=
            ref->offset != ref->guest_offset ? REFERENCE_MISPLACED : 0;
    }
}

static int visit_cluster(struct reference_walk *walk,
                         const struct reference *table, uint64_t index,
                         const uint8_t *words, struct byre_error *err)
{
    const struct l2_format *format = &walk->qcow2->l2_format;
    struct reference ref = {
        .table_offset = table->offset,
        .index = index,
        .raw = be64_get(words),
        .active = table->active,
        .snapshot = table->snapshot,
        .guest_offset = table->guest_offset + index * walk->cluster_bytes,
    };

    ref.copied = (ref.raw & QCOW2_ENTRY_COPIED) != 0;
    if ((ref.raw & QCOW2_ENTRY_COMPRESSED) != 0)
        decode_compressed(format, &ref);
    else
        decode_standard(walk, &ref);
    if (format->extended)
        ref.faults |= subcluster_faults(format, ref.raw, be64_get(words + 8));
    return reference_show(walk, &ref, err);
}

/* ---- Trees ---- */

static int visit_l2_table(struct reference_walk *walk,
                          const struct reference *table, uint64_t index,
                          const uint8_t *words, struct byre_error *err)
{
    const uint64_t raw = be64_get(words);
    const uint64_t offset = raw & QCOW2_ENTRY_OFFSET_MASK;
    struct reference ref = {
        .owner = offset != 0 ? REFERENCE_L2_TABLE : REFERENCE_NOTHING,
        .offset = offset,
        .bytes = offset != 0 ? walk->cluster_bytes : 0,
        .table_offset = table->offset,
        .index = index,
        .raw = raw,
        .in_l1 = true,
        .copied = (raw & QCOW2_ENTRY_COPIED) != 0,
        .active = table->active,
        .snapshot = table->snapshot,
        .guest_offset =
            index << (walk->qcow2->l2_bits + walk->qcow2->header.cluster_bits),
    };
    int r;

    if ((raw & QCOW2_L1_RESERVED_MASK) != 0)
        ref.faults |= REFERENCE_RESERVED_BITS;
    if (!is_aligned(offset, walk->cluster_bytes))
        ref.faults |= REFERENCE_UNALIGNED;
    if (offset == 0 && ref.copied)
        ref.faults |= REFERENCE_STRAY_COPIED;
    r = reference_show(walk, &ref, err);
    if (r != BYRE_OK || offset == 0 || !reference_can_walk(&ref))
        return r;
    return reference_walk_entries(walk, &ref, REFERENCE_INNER,
                                  walk->qcow2->entry_words, visit_cluster, err);
}

static int walk_tree(struct reference_walk *walk, struct reference *l1,
                     struct byre_error *err)
{
    int r;

    if (l1->bytes == 0 && l1->faults == 0)
        return BYRE_OK;
    r = reference_show(walk, l1, err);
    if (r != BYRE_OK || !reference_can_walk(l1))
        return r;
    return reference_walk_entries(walk, l1, REFERENCE_OUTER, 1, visit_l2_table,
                                  err);
}

/* ---- Tables of a list ---- */

static struct reference listed_reference(const struct reference_walk *walk,
                                         const struct l2_reference *tables,
                                         size_t index)
{
    return (struct reference){
        .owner = REFERENCE_L2_TABLE,
        .offset = tables[index].offset,
        .bytes = walk->cluster_bytes,
        .table_offset = BYRE_NO_OFFSET,
        .index = index,
        .snapshot = REFERENCE_NO_SNAPSHOT,
    };
}

/* Its entries come from `bytes`, or are read in pieces where that is NULL. */
static int walk_listed(struct reference_walk *walk, struct reference *table,
                       const uint8_t *bytes, struct byre_error *err)
{
    const uint32_t words = walk->qcow2->entry_words;
    int r;

    r = reference_show(walk, table, err);
    if (r != BYRE_OK || !reference_can_walk(table))
        return r;
    if (bytes == NULL)
        return reference_walk_entries(walk, table, REFERENCE_INNER, words,
                                      visit_cluster, err);
    return reference_walk_piece(walk, table, bytes, 0,
                                walk->cluster_bytes / (UINT64_C(8) * words),
                                words, visit_cluster, err);
}

/* How many tables from the first on follow one another and fit the buffer. */
static size_t neighbours(const struct reference_walk *walk,
                         const struct l2_reference *tables, size_t count)
{
    const uint64_t most = REFERENCE_PIECE_BYTES / walk->cluster_bytes;
    size_t n = 1;

    while (n < count && n < most &&
           tables[n].offset == tables[0].offset + n * walk->cluster_bytes)
        n++;
    return n;
}

int reference_walk_tables(struct reference_walk *walk,
                          const struct l2_reference *tables, size_t count,
                          struct byre_error *err)
{
    const bool whole = walk->cluster_bytes <= REFERENCE_PIECE_BYTES;
    uint8_t *piece = walk->pieces[REFERENCE_INNER];
    int r = BYRE_OK;

    for (size_t i = 0, n; i < count && r >= 0; i += n) {
        n = neighbours(walk, tables + i, count - i);
        if (whole)
            r = store_read(walk->qcow2->store, tables[i].offset, piece,
                           (size_t)(n * walk->cluster_bytes), err);
        for (size_t k = 0; k < n && r >= 0; k++) {
            struct reference table = listed_reference(walk, tables, i + k);

            r = walk_listed(walk, &table,
                            whole ? piece + k * walk->cluster_bytes : NULL,
                            err);
        }
    }
    return r < 0 ? r : BYRE_OK;
}

/* ---- Disks ---- */

int reference_walk_active(struct reference_walk *walk, struct byre_error *err)
{
    const struct qcow2_header *header = &walk->qcow2->header;
    struct reference l1 = {
        .owner = REFERENCE_L1_TABLE,
        .offset = header->l1_offset,
        .bytes = UINT64_C(8) * header->l1_entries,
        .table_offset = BYRE_NO_OFFSET,
        .active = true,
        .snapshot = REFERENCE_NO_SNAPSHOT,
    };

    return walk_tree(walk, &l1, err);
}

/* ---- Snapshots ---- */

static int walk_snapshot(struct reference_walk *walk, uint32_t index,
                         struct byre_error *err)
{
    const struct qcow2_header *header = &walk->qcow2->header;
    const struct qcow2_snapshot *snapshot =
        &walk->qcow2->snapshots.entries[index];
    struct reference l1 = {
        .owner = REFERENCE_L1_TABLE,
        .offset = snapshot->l1_offset,
        .bytes = UINT64_C(8) * snapshot->l1_entries,
        .table_offset = header->snapshots_offset,
        .index = index,
        .snapshot = index,
    };

    if (!is_aligned(snapshot->l1_offset, walk->cluster_bytes))
        l1.faults |= REFERENCE_UNALIGNED;
    else if (qcow2_snapshot_check(snapshot, header, NULL) < 0)
        l1.faults |= REFERENCE_DAMAGED;
    if (header->version >= 3 && snapshot->extra_bytes < 16)
        l1.faults |= REFERENCE_INCOMPLETE;
    if (snapshot->extra_bytes > QCOW2_MAX_SNAPSHOT_EXTRA_BYTES)
        l1.faults |= REFERENCE_OVERLONG;
    return walk_tree(walk, &l1, err);
}

static uint64_t snapshot_table_bytes(const struct snapshot_list *list)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < list->count; i++)
        bytes += qcow2_snapshot_bytes(&list->entries[i]);
    return bytes;
}

int reference_walk_snapshots(struct reference_walk *walk,
                             struct byre_error *err)
{
    struct qcow2 *qcow2 = walk->qcow2;
    const uint64_t offset = qcow2->header.snapshots_offset;
    const struct byre_snapshot *unused_list;
    size_t unused_count;
    int r;

    if (qcow2->header.snapshot_count == 0)
        return BYRE_OK;
    r = qcow2_snapshots(&qcow2->engine, &unused_list, &unused_count, err);
    if (r == BYRE_E_CORRUPT)
        return reference_show_table(walk, REFERENCE_SNAPSHOT_TABLE, offset, 0,
                                    REFERENCE_DAMAGED, err);
    if (r < 0)
        return r;

    r = reference_show_table(walk, REFERENCE_SNAPSHOT_TABLE, offset,
                             snapshot_table_bytes(&qcow2->snapshots), 0, err);
    for (uint32_t i = 0; r == BYRE_OK && i < qcow2->snapshots.count; i++)
        r = walk_snapshot(walk, i, err);
    return r;
}
