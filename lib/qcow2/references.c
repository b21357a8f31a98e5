/* SPDX-License-Identifier: MIT */
#include "qcow2/references.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/reference_walk.h"

#define BITMAP_TABLE_RESERVED_MASK UINT64_C(0xff000000000001fe)

/* ---- Refcounts ---- */

static int visit_refcount_block(struct reference_walk *walk,
                                const struct reference *table, uint64_t index,
                                const uint8_t *words, struct byre_error *err)
{
    const uint64_t raw = be64_get(words);
    const uint64_t offset = raw & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
    struct reference ref = {
        .owner = REFERENCE_REFCOUNT_BLOCK,
        .offset = offset,
        .bytes = offset != 0 ? walk->cluster_bytes : 0,
        .table_offset = table->offset,
        .index = index,
        .raw = raw,
        .snapshot = REFERENCE_NO_SNAPSHOT,
        .guest_offset = BYRE_NO_OFFSET,
    };

    if ((raw & ~QCOW2_REFCOUNT_TABLE_OFFSET_MASK) != 0)
        ref.faults |= REFERENCE_RESERVED_BITS;
    if (!is_aligned(offset, walk->cluster_bytes))
        ref.faults |= REFERENCE_UNALIGNED;
    return reference_show(walk, &ref, err);
}

static int walk_refcounts(struct reference_walk *walk, struct byre_error *err)
{
    const struct qcow2_header *header = &walk->qcow2->header;
    const struct reference table = {
        .offset = header->refcount_table_offset,
        .bytes = header->refcount_table_clusters * walk->cluster_bytes,
    };
    int r;

    /* Only an image that was opened to be checked has such a one. */
    if (qcow2_header_check_refcounts(header, NULL) < 0)
        return reference_show_table(walk, REFERENCE_REFCOUNT_TABLE,
                                    header->refcount_table_offset, 0,
                                    REFERENCE_DAMAGED, err);
    r = reference_show_table(walk, REFERENCE_REFCOUNT_TABLE, table.offset,
                             table.bytes, 0, err);
    if (r != BYRE_OK)
        return r;
    return reference_walk_entries(walk, &table, REFERENCE_OUTER, 1,
                                  visit_refcount_block, err);
}

/* ---- Bitmaps ---- */

static int visit_bitmap_data(struct reference_walk *walk,
                             const struct reference *table, uint64_t index,
                             const uint8_t *words, struct byre_error *err)
{
    const uint64_t raw = be64_get(words);
    const uint64_t offset = raw & QCOW2_ENTRY_OFFSET_MASK;
    struct reference ref = {
        .owner = offset != 0 ? REFERENCE_BITMAP_DATA : REFERENCE_NOTHING,
        .offset = offset,
        .bytes = offset != 0 ? walk->cluster_bytes : 0,
        .table_offset = table->offset,
        .index = index,
        .raw = raw,
        .snapshot = REFERENCE_NO_SNAPSHOT,
        .guest_offset = BYRE_NO_OFFSET,
    };

    /* Bit 0 has a meaning only where there is no offset. */
    if ((raw & BITMAP_TABLE_RESERVED_MASK) != 0 ||
        (offset != 0 && (raw & 1) != 0))
        ref.faults |= REFERENCE_RESERVED_BITS;
    if (!is_aligned(offset, walk->cluster_bytes))
        ref.faults |= REFERENCE_UNALIGNED;
    return reference_show(walk, &ref, err);
}

static int walk_bitmap(struct reference_walk *walk, uint64_t index,
                       const struct qcow2_bitmap_entry *entry,
                       struct byre_error *err)
{
    struct reference table = {
        .owner = REFERENCE_BITMAP_TABLE,
        .offset = entry->table_offset,
        .bytes = UINT64_C(8) * entry->table_entries,
        .table_offset = walk->qcow2->bitmaps_extension.directory_offset,
        .index = index,
        .snapshot = REFERENCE_NO_SNAPSHOT,
        .guest_offset = BYRE_NO_OFFSET,
    };
    int r;

    r = reference_show(walk, &table, err);
    if (r != BYRE_OK || !reference_can_walk(&table))
        return r;
    return reference_walk_entries(walk, &table, REFERENCE_OUTER, 1,
                                  visit_bitmap_data, err);
}

static int walk_directory(struct reference_walk *walk, const uint8_t *raw,
                          size_t length, struct byre_error *err)
{
    const struct qcow2_bitmaps_extension *extension =
        &walk->qcow2->bitmaps_extension;
    const uint64_t disk_bytes =
        align_down(walk->qcow2->header.size_bytes, ENGINE_SECTOR_BYTES);
    struct qcow2_bitmap_entry entry;
    size_t position = 0, entry_bytes;
    int r;

    for (uint32_t i = 0; i < extension->bitmap_count; i++) {
        r = qcow2_bitmap_entry_decode(raw + position, length - position,
                                      walk->qcow2->header.cluster_bits,
                                      disk_bytes, &entry, &entry_bytes, NULL);
        if (r < 0)
            return reference_show_table(walk, REFERENCE_BITMAP_DIRECTORY,
                                        extension->directory_offset + position,
                                        0, REFERENCE_DAMAGED, err);
        r = walk_bitmap(walk, i, &entry, err);
        if (r < 0)
            return r;
        position += entry_bytes;
    }
    if (position == length)
        return BYRE_OK;
    return reference_show_table(walk, REFERENCE_BITMAP_DIRECTORY,
                                extension->directory_offset + position, 0,
                                REFERENCE_DAMAGED, err);
}

static int load_directory(struct reference_walk *walk, struct byre_error *err)
{
    const struct qcow2_bitmaps_extension *extension =
        &walk->qcow2->bitmaps_extension;
    const size_t length = (size_t)extension->directory_bytes;
    uint8_t *raw = malloc(length + 1);
    int r;

    if (raw == NULL)
        return fail_nomem(err, "the bitmap directory", length);

    r = store_read(walk->qcow2->store, extension->directory_offset, raw, length,
                   err);
    if (r == BYRE_OK)
        r = walk_directory(walk, raw, length, err);
    free(raw);
    return r;
}

static int walk_bitmaps(struct reference_walk *walk, struct byre_error *err)
{
    const struct qcow2 *qcow2 = walk->qcow2;
    const uint64_t offset = qcow2->bitmaps_extension.directory_offset;
    const uint64_t bytes = qcow2->bitmaps_extension.directory_bytes;
    int r;

    if (!qcow2->has_bitmaps)
        return BYRE_OK;
    if (qcow2->bitmaps_damaged)
        return reference_show_table(walk, REFERENCE_BITMAP_DIRECTORY, 0, 0,
                                    REFERENCE_DAMAGED, err);
    r = reference_show_table(walk, REFERENCE_BITMAP_DIRECTORY, offset, bytes, 0,
                             err);
    if (r != BYRE_OK || reference_place_faults(walk, offset, bytes) != 0)
        return r;
    return load_directory(walk, err);
}

/* ---- The whole image ---- */

static int walk_header(struct reference_walk *walk, struct byre_error *err)
{
    return reference_show_table(walk, REFERENCE_HEADER, 0, walk->cluster_bytes,
                                0, err);
}

static int walk_luks(struct reference_walk *walk, struct byre_error *err)
{
    const struct qcow2 *qcow2 = walk->qcow2;

    if (!qcow2->has_crypto || qcow2->crypto.length == 0)
        return BYRE_OK;
    return reference_show_table(walk, REFERENCE_LUKS, qcow2->crypto.offset,
                                qcow2->crypto.length, 0, err);
}

static int walk_all(struct reference_walk *walk, struct byre_error *err)
{
    static const struct {
        uint32_t what;
        int (*walk)(struct reference_walk *walk, struct byre_error *err);
    } parts[] = {
        { REFERENCES_HEADER, walk_header },
        { REFERENCES_REFCOUNTS, walk_refcounts },
        { REFERENCES_ACTIVE, reference_walk_active },
        { REFERENCES_SNAPSHOTS, reference_walk_snapshots },
        { REFERENCES_LUKS, walk_luks },
        { REFERENCES_BITMAPS, walk_bitmaps },
    };
    int r;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if ((walk->what & parts[i].what) == 0)
            continue;
        r = parts[i].walk(walk, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int walk_begin(struct reference_walk *walk, struct byre_error *err)
{
    int r;

    walk->cluster_bytes = qcow2_cluster_bytes(&walk->qcow2->header);
    r = store_get_size(walk->qcow2->store, &walk->file_bytes, err);
    if (r < 0)
        return r;

    for (int level = 0; level < REFERENCE_LEVELS; level++)
        walk->pieces[level] = malloc(REFERENCE_PIECE_BYTES);
    if (walk->pieces[REFERENCE_OUTER] == NULL ||
        walk->pieces[REFERENCE_INNER] == NULL)
        return fail_nomem(err, "pieces of tables", REFERENCES_BUFFER_BYTES);
    return BYRE_OK;
}

static void walk_end(struct reference_walk *walk)
{
    for (int level = 0; level < REFERENCE_LEVELS; level++)
        free(walk->pieces[level]);
}

int references_walk(struct qcow2 *qcow2, uint32_t what, reference_visit *visit,
                    void *user, struct byre_error *err)
{
    struct reference_walk walk = {
        .qcow2 = qcow2, .what = what, .visit = visit, .user = user
    };
    int r;

    r = walk_begin(&walk, err);
    if (r == BYRE_OK)
        r = walk_all(&walk, err);
    walk_end(&walk);
    return r < 0 ? r : BYRE_OK;
}

int references_walk_tables(struct qcow2 *qcow2,
                           const struct l2_reference *tables, size_t count,
                           reference_visit *visit, void *user,
                           struct byre_error *err)
{
    struct reference_walk walk = { .qcow2 = qcow2,
                                   .visit = visit,
                                   .user = user };
    int r;

    r = walk_begin(&walk, err);
    if (r == BYRE_OK)
        r = reference_walk_tables(&walk, tables, count, err);
    walk_end(&walk);
    return r;
}

/* ---- Words for messages ---- */

void reference_describe(const struct reference *ref, char *text,
                        size_t capacity)
{
    const char *owner = reference_owner_name(ref->owner);

    if (ref->table_offset == BYRE_NO_OFFSET)
        snprintf(text, capacity, "the %s at %" PRIu64, owner, ref->offset);
    else if (ref->owner == REFERENCE_L1_TABLE)
        snprintf(text, capacity,
                 "the L1 table of snapshot %" PRIu64 " at %" PRIu64,
                 ref->index + 1, ref->offset);
    else if (ref->owner == REFERENCE_BITMAP_TABLE)
        snprintf(text, capacity, "the table of bitmap %" PRIu64 " at %" PRIu64,
                 ref->index + 1, ref->offset);
    else
        snprintf(text, capacity,
                 "entry %" PRIu64 " of the table at %" PRIu64 " (0x%" PRIx64
                 ", %s)",
                 ref->index, ref->table_offset, ref->raw, owner);
}

/* Stray flags are nothing's, and the others say nothing of host clusters. */
uint32_t reference_grave_faults(const struct reference *ref)
{
    const uint32_t tolerated =
        REFERENCE_INCOMPLETE | REFERENCE_OVERLONG | REFERENCE_MISPLACED |
        (ref->owner == REFERENCE_NOTHING ? REFERENCE_STRAY_COPIED : 0);

    return ref->faults & ~tolerated;
}

const char *reference_owner_name(enum reference_owner owner)
{
    static const char *const names[] = {
        [REFERENCE_HEADER] = "header",
        [REFERENCE_REFCOUNT_TABLE] = "refcount table",
        [REFERENCE_REFCOUNT_BLOCK] = "refcount block",
        [REFERENCE_L1_TABLE] = "L1 table",
        [REFERENCE_L2_TABLE] = "L2 table",
        [REFERENCE_DATA] = "data cluster",
        [REFERENCE_COMPRESSED] = "compressed cluster",
        [REFERENCE_EXTERNAL_DATA] = "cluster of the data file",
        [REFERENCE_NOTHING] = "entry without a cluster",
        [REFERENCE_SNAPSHOT_TABLE] = "snapshot table",
        [REFERENCE_LUKS] = "LUKS area",
        [REFERENCE_BITMAP_DIRECTORY] = "bitmap directory",
        [REFERENCE_BITMAP_TABLE] = "bitmap table",
        [REFERENCE_BITMAP_DATA] = "bitmap cluster",
    };

    return names[owner];
}

const char *reference_fault_text(uint32_t faults)
{
    static const char *const texts[] = {
        "is not aligned to a cluster",
        "ends past what a file can hold",
        "ends past the end of the file",
        "has reserved bits set",
        "is marked as copied where nothing can be",
        "is compressed, although the data file is raw",
        "has subclusters that contradict it",
        "has the zero flag, which version 2 lacks",
        "is not where the guest has it",
        "cannot be decoded",
        "does not record all that version 3 asks for",
        "has more extra data than the limit of 1024 bytes",
    };

    assert(faults != 0);
    return texts[__builtin_ctz(faults)];
}
