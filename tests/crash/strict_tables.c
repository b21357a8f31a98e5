/* SPDX-License-Identifier: MIT */
/*
 * The strict checker's view of refcounts, snapshots and header extensions.
 */
#include <stdio.h>
#include <stdlib.h>

#include "strict_scan.h"

/* ---- Refcounts ---- */

/* The count at `index` of a block, of any width. */
static uint64_t count_at(const uint8_t *block, unsigned order, uint64_t index)
{
    const unsigned bits = 1u << order;

    if (bits >= 8)
        return strict_be(block + index * (bits / 8), bits / 8);
    return (unsigned)block[index * bits / 8] >> (index * bits % 8) &
           ((1u << bits) - 1);
}

static bool is_zero(const uint8_t *bytes, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static void load_block(struct strict_scan *scan, uint64_t offset,
                       uint64_t table_index)
{
    const uint64_t counts = scan->cluster_bytes * 8 >> scan->refcount_order;
    uint8_t *block =
        strict_load(scan, "refcount block", offset, scan->cluster_bytes);

    if (block == NULL)
        return;
    for (uint64_t i = 0; i < counts; i++) {
        const uint64_t cluster = table_index * counts + i;
        const uint64_t stored = count_at(block, scan->refcount_order, i);

        if (cluster < scan->cluster_count)
            scan->stored[cluster] = stored;
        else if (stored != 0)
            scan->report->leaks_past_end++;
        else if (i % 64 == 0 &&
                 is_zero(block + (i << scan->refcount_order) / 8,
                         scan->cluster_bytes - (i << scan->refcount_order) / 8))
            break;
    }
    free(block);
}

void strict_load_refcounts(struct strict_scan *scan)
{
    const uint64_t bytes = scan->refcount_table_clusters << scan->cluster_bits;
    uint8_t *table;

    if (!strict_is_aligned(scan, "refcount table", scan->refcount_table))
        return;
    strict_refer(scan, USE_REFCOUNT_TABLE, 0, scan->refcount_table, bytes);
    table = strict_load(scan, "refcount table", scan->refcount_table, bytes);
    for (uint64_t i = 0; table != NULL && i < bytes / 8; i++) {
        const uint64_t word = strict_be64(table + i * 8);

        if (word == 0)
            continue;
        if (strict_bits(word, 0, 8) != 0)
            strict_structural(scan, "refcount table entry %#llx: reserved bits",
                              (unsigned long long)word);
        if (!strict_is_aligned(scan, "refcount block", word))
            continue;
        strict_refer(scan, USE_REFCOUNT_BLOCK, 0, word, scan->cluster_bytes);
        load_block(scan, word, i);
    }
    free(table);
}

static void note_leak(struct strict_scan *scan, uint64_t index)
{
    struct strict_report *report = scan->report;

    report->leaks++;
    if (report->first_leak[0] == '\0')
        snprintf(report->first_leak, sizeof(report->first_leak),
                 "host cluster %#llx: refcount %llu, references %u",
                 (unsigned long long)(index << scan->cluster_bits),
                 (unsigned long long)scan->stored[index],
                 scan->clusters[index].references);
}

void strict_compare_refcounts(struct strict_scan *scan)
{
    for (uint64_t i = 0; i < scan->cluster_count; i++) {
        const uint32_t references = scan->clusters[i].references;
        const bool past_end = i << scan->cluster_bits >= scan->source->length;

        if (scan->stored[i] < references)
            strict_corruption(
                scan, "host cluster %#llx: refcount %llu, references %u",
                (unsigned long long)(i << scan->cluster_bits),
                (unsigned long long)scan->stored[i], references);
        else if (scan->stored[i] > references && past_end)
            scan->report->leaks_past_end++;
        else if (scan->stored[i] > references)
            note_leak(scan, i);
    }
}

/* ---- Snapshots ---- */

#define SNAPSHOT_HEADER_BYTES 40
#define MAX_SNAPSHOT_TABLE    (UINT64_C(16) << 20)

static uint64_t align8(uint64_t value)
{
    return (value + 7) & ~UINT64_C(7);
}

/* Scans the tree of the entry at `at`; returns its length, 0 at the end. */
static uint64_t scan_snapshot(struct strict_scan *scan, const uint8_t *at,
                              uint64_t left, uint32_t tree)
{
    uint64_t length;

    if (left < SNAPSHOT_HEADER_BYTES)
        return 0;
    length = SNAPSHOT_HEADER_BYTES + (uint64_t)strict_be32(at + 36) +
             strict_be16(at + 12) + strict_be16(at + 14);
    if (length > left)
        return 0;
    if (scan->version >= 3 && strict_be32(at + 36) < 16)
        strict_structural(scan, "snapshot %u: %u bytes of extra data", tree,
                          strict_be32(at + 36));
    strict_scan_tree(scan, strict_be64(at), strict_be32(at + 8), tree);
    return align8(length);
}

void strict_scan_snapshots(struct strict_scan *scan, uint64_t offset,
                           uint32_t count)
{
    uint64_t left = 0, at = 0;
    uint8_t *table;

    if (count == 0 || !strict_is_aligned(scan, "snapshots", offset))
        return;
    if ((scan->incompatible & INCOMPATIBLE_DATA_FILE) != 0)
        strict_structural(scan, "%u snapshots beside a data file", count);
    if (offset < scan->source->length)
        left = scan->source->length - offset;
    left = left < MAX_SNAPSHOT_TABLE ? left : MAX_SNAPSHOT_TABLE;
    table = strict_load(scan, "snapshots", offset, left + 8);
    for (uint32_t i = 0; table != NULL && i < count; i++) {
        const uint64_t length =
            scan_snapshot(scan, table + at, left + 8 - at, 2 + i);

        if (length == 0) {
            strict_structural(scan, "snapshot %u of %u is cut off", i, count);
            break;
        }
        at += length;
    }
    strict_refer(scan, USE_SNAPSHOT_TABLE, 0, offset, at);
    free(table);
}

/* ---- Bitmaps ---- */

static void scan_bitmap_table(struct strict_scan *scan, uint64_t offset,
                              uint32_t entries)
{
    uint8_t *table;

    if (!strict_is_aligned(scan, "bitmap table", offset))
        return;
    strict_refer(scan, USE_BITMAPS, 0, offset, (uint64_t)entries * 8);
    table = strict_load(scan, "bitmap table", offset, (uint64_t)entries * 8);
    for (uint32_t i = 0; table != NULL && i < entries; i++) {
        const uint64_t data = strict_bits(strict_be64(table + i * 8), 9, 55);

        if (data != 0 && strict_is_aligned(scan, "bitmap", data))
            strict_refer(scan, USE_BITMAPS, 0, data, scan->cluster_bytes);
    }
    free(table);
}

static void scan_bitmaps(struct strict_scan *scan, const uint8_t *extension)
{
    const uint32_t count = strict_be32(extension);
    const uint64_t bytes = strict_be64(extension + 8);
    const uint64_t offset = strict_be64(extension + 16);
    uint64_t at = 0;
    uint8_t *directory;

    if (!strict_is_aligned(scan, "bitmap directory", offset))
        return;
    strict_refer(scan, USE_BITMAPS, 0, offset, bytes);
    directory = strict_load(scan, "bitmap directory", offset, bytes);
    for (uint32_t i = 0; directory != NULL && i < count && at + 24 <= bytes;
         i++) {
        const uint8_t *entry = directory + at;

        scan_bitmap_table(scan, strict_be64(entry), strict_be32(entry + 8));
        at += align8(24 + (uint64_t)strict_be32(entry + 20) +
                     strict_be16(entry + 18));
    }
    free(directory);
}

/* ---- Header extensions ---- */

#define EXTENSION_LUKS    0x0537be77u
#define EXTENSION_BITMAPS 0x23852875u
#define AUTOCLEAR_BITMAPS (UINT64_C(1) << 0)

static void scan_extension(struct strict_scan *scan, uint32_t type,
                           const uint8_t *payload, uint64_t length)
{
    if (type == EXTENSION_LUKS && length == 16) {
        if (strict_is_aligned(scan, "LUKS", strict_be64(payload)))
            strict_refer(scan, USE_LUKS, 0, strict_be64(payload),
                         strict_be64(payload + 8));
    } else if (type == EXTENSION_BITMAPS && length == 24 &&
               (scan->autoclear & AUTOCLEAR_BITMAPS) != 0) {
        scan_bitmaps(scan, payload);
    }
}

void strict_scan_extensions(struct strict_scan *scan, const uint8_t *header,
                            uint64_t start, uint64_t end)
{
    while (start + 8 <= end) {
        const uint32_t type = strict_be32(header + start);
        const uint64_t length = strict_be32(header + start + 4);

        if (type == 0)
            return;
        start += 8;
        if (length > end - start) {
            strict_structural(scan, "extension %#x leaves the header", type);
            return;
        }
        scan_extension(scan, type, header + start, length);
        start += align8(length);
    }
}
