/* SPDX-License-Identifier: MIT */
/*
 * The strict checker's walk over L1 and L2 tables, and their COPIED flags.
 */
#include <stdlib.h>

#include "strict_scan.h"

#define ENTRY_COPIED     (UINT64_C(1) << 63)
#define ENTRY_COMPRESSED (UINT64_C(1) << 62)

static bool has_data_file(const struct strict_scan *scan)
{
    return (scan->incompatible & INCOMPATIBLE_DATA_FILE) != 0;
}

static bool is_extended(const struct strict_scan *scan)
{
    return (scan->incompatible & INCOMPATIBLE_EXTENDED_L2) != 0;
}

static uint64_t l2_entry_bytes(const struct strict_scan *scan)
{
    return is_extended(scan) ? 16 : 8;
}

static uint64_t l2_entries(const struct strict_scan *scan)
{
    return scan->cluster_bytes / l2_entry_bytes(scan);
}

/* ---- Entries ---- */

struct entry {
    uint64_t word;
    uint64_t bitmap; /* of subclusters */
    uint64_t guest_offset;
    uint32_t tree;
};

static void bad_entry(struct strict_scan *scan, const struct entry *entry,
                      const char *why)
{
    strict_structural(scan, "L2 entry %#llx (bitmap %#llx) of %#llx: %s",
                      (unsigned long long)entry->word,
                      (unsigned long long)entry->bitmap,
                      (unsigned long long)entry->guest_offset, why);
}

static void scan_compressed(struct strict_scan *scan, const struct entry *entry)
{
    const unsigned offset_bits = 70 - scan->cluster_bits;
    const uint64_t offset = strict_bits(entry->word, 0, offset_bits - 1);
    const uint64_t sectors =
        strict_bits(entry->word, offset_bits, 61) >> offset_bits;
    const uint64_t first = offset & ~UINT64_C(511);

    if ((entry->word & ENTRY_COPIED) != 0)
        bad_entry(scan, entry, "compressed and COPIED");
    if (entry->bitmap != 0)
        bad_entry(scan, entry, "compressed with subclusters");
    if (has_data_file(scan)) {
        bad_entry(scan, entry, "compressed in a data file");
        return;
    }
    if (offset_bits > 56 && strict_bits(offset, 56, offset_bits - 1) != 0)
        bad_entry(scan, entry, "reserved bits");
    if (offset == 0)
        bad_entry(scan, entry, "compressed in the header");
    strict_refer(scan, USE_COMPRESSED, entry->tree, first, (sectors + 1) * 512);
}

static void scan_subclusters(struct strict_scan *scan,
                             const struct entry *entry, uint64_t host_offset)
{
    const uint32_t allocated = (uint32_t)entry->bitmap;
    const uint32_t zero = (uint32_t)(entry->bitmap >> 32);

    if ((entry->word & 1) != 0)
        bad_entry(scan, entry, "a zero flag beside subclusters");
    if ((allocated & zero) != 0)
        bad_entry(scan, entry, "a subcluster that is data and zeroes");
    if (host_offset == 0 && allocated != 0 &&
        !(has_data_file(scan) && (entry->word & ENTRY_COPIED) != 0))
        bad_entry(scan, entry, "subclusters of no cluster");
}

static void scan_in_data_file(struct strict_scan *scan,
                              const struct entry *entry, uint64_t host_offset)
{
    if (host_offset == 0 && (entry->word & ENTRY_COPIED) == 0)
        return;
    if (host_offset != entry->guest_offset)
        bad_entry(scan, entry, "another place in the data file");
    if ((entry->word & ENTRY_COPIED) == 0)
        bad_entry(scan, entry, "not COPIED in a data file");
}

static void scan_entry(struct strict_scan *scan, const struct entry *entry)
{
    const uint64_t host_offset = strict_bits(entry->word, 9, 55);

    if ((entry->word & ENTRY_COMPRESSED) != 0) {
        scan_compressed(scan, entry);
        return;
    }
    if ((strict_bits(entry->word, 1, 8) | strict_bits(entry->word, 56, 61)) !=
        0)
        bad_entry(scan, entry, "reserved bits");
    if (scan->version < 3 && (entry->word & 1) != 0)
        bad_entry(scan, entry, "a zero flag in version 2");
    if (is_extended(scan))
        scan_subclusters(scan, entry, host_offset);
    if ((host_offset & (scan->cluster_bytes - 1)) != 0)
        bad_entry(scan, entry, "not aligned");
    else if (has_data_file(scan))
        scan_in_data_file(scan, entry, host_offset);
    else if (host_offset != 0)
        strict_refer(scan, USE_DATA, entry->tree, host_offset,
                     scan->cluster_bytes);
}

/* ---- Tables ---- */

typedef void visit_entry(struct strict_scan *scan, const struct entry *entry);

static void for_each_entry(struct strict_scan *scan, uint64_t table,
                           uint64_t guest_offset, uint32_t tree,
                           visit_entry *visit)
{
    const uint64_t entry_bytes = l2_entry_bytes(scan);
    uint8_t *bytes = strict_load(scan, "L2", table, scan->cluster_bytes);

    for (uint64_t i = 0; bytes != NULL && i < l2_entries(scan); i++) {
        const uint8_t *at = bytes + i * entry_bytes;
        const struct entry entry = {
            .word = strict_be64(at),
            .bitmap = entry_bytes == 16 ? strict_be64(at + 8) : 0,
            .guest_offset = guest_offset + (i << scan->cluster_bits),
            .tree = tree
        };

        if ((entry.word | entry.bitmap) != 0)
            visit(scan, &entry);
    }
    free(bytes);
}

static void scan_l1_entry(struct strict_scan *scan, uint64_t word,
                          uint64_t guest_offset, uint32_t tree)
{
    const uint64_t table = strict_bits(word, 9, 55);

    if ((strict_bits(word, 0, 8) | strict_bits(word, 56, 62)) != 0)
        strict_structural(scan, "L1 entry %#llx: reserved bits",
                          (unsigned long long)word);
    if (table == 0 || !strict_is_aligned(scan, "L2", table))
        return;
    strict_refer(scan, USE_L2, tree, table, scan->cluster_bytes);
    for_each_entry(scan, table, guest_offset, tree, scan_entry);
}

void strict_scan_tree(struct strict_scan *scan, uint64_t l1_offset,
                      uint64_t l1_entries, uint32_t tree)
{
    const uint64_t range = l2_entries(scan) << scan->cluster_bits;
    uint8_t *bytes;

    if (l1_entries == 0 || !strict_is_aligned(scan, "L1", l1_offset))
        return;
    strict_refer(scan, USE_L1, tree, l1_offset, l1_entries * 8);
    bytes = strict_load(scan, "L1", l1_offset, l1_entries * 8);
    for (uint64_t i = 0; bytes != NULL && i < l1_entries; i++)
        scan_l1_entry(scan, strict_be64(bytes + i * 8), i * range, tree);
    free(bytes);
}

/* ---- COPIED ---- */

static void check_flag(struct strict_scan *scan, const char *what,
                       uint64_t word, uint64_t offset)
{
    const uint64_t index = offset >> scan->cluster_bits;
    const bool copied = (word & ENTRY_COPIED) != 0;

    if (offset == 0 || index >= scan->cluster_count)
        return;
    if (copied && scan->stored[index] != 1)
        strict_corruption(scan, "%s %#llx is COPIED with a refcount of %llu",
                          what, (unsigned long long)word,
                          (unsigned long long)scan->stored[index]);
    else if (copied && scan->clusters[index].references > 1)
        strict_corruption(scan, "%s %#llx is COPIED with %u references", what,
                          (unsigned long long)word,
                          scan->clusters[index].references);
    else if (!copied && scan->stored[index] == 1)
        scan->report->missing_copied++;
}

static void check_entry_flag(struct strict_scan *scan,
                             const struct entry *entry)
{
    if ((entry->word & ENTRY_COMPRESSED) == 0 && !has_data_file(scan))
        check_flag(scan, "L2 entry", entry->word,
                   strict_bits(entry->word, 9, 55));
}

void strict_check_copied(struct strict_scan *scan, uint64_t l1_offset,
                         uint64_t l1_entries)
{
    const uint64_t mask = scan->cluster_bytes - 1;
    uint8_t *bytes;

    if (l1_entries == 0 || (l1_offset & mask) != 0)
        return;
    bytes = strict_load(scan, "L1", l1_offset, l1_entries * 8);
    for (uint64_t i = 0; bytes != NULL && i < l1_entries; i++) {
        const uint64_t word = strict_be64(bytes + i * 8);
        const uint64_t table = strict_bits(word, 9, 55);

        if (table == 0 || (table & mask) != 0 || table >= scan->source->length)
            continue;
        check_flag(scan, "L1 entry", word, table);
        for_each_entry(scan, table, 0, 1, check_entry_flag);
    }
    free(bytes);
}
