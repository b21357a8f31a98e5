/* SPDX-License-Identifier: MIT */
#include "soundness.h"

#define COPIED     (UINT64_C(1) << 63)
#define COMPRESSED (UINT64_C(1) << 62)
#define OFFSET     UINT64_C(0x00fffffffffffe00)

#define MAX_IMAGE_BYTES ((size_t)8 << 20)
#define MAX_SNAPSHOTS   64

enum use { USE_NONE, USE_ALONE, USE_L2, USE_DATA };

struct judge {
    const uint8_t *image;
    size_t length;
    uint32_t version;
    uint32_t cluster_bits;
    uint32_t refcount_order;
    uint64_t incompatible;
    uint64_t clusters;
    uint8_t *uses;        /* one a cluster */
    uint16_t *references; /* one a cluster */
    uint8_t *trees; /* one a cluster: the last that has an L2 table there */
    uint8_t tree;
    uint32_t entries_left;
};

uint64_t image_number(const uint8_t *image, size_t length, uint64_t offset,
                      unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value <<= 8;
        if (offset < length && i < length - offset)
            value |= image[offset + i];
    }
    return value;
}

static uint64_t number(const struct judge *judge, uint64_t offset,
                       unsigned bytes)
{
    return image_number(judge->image, judge->length, offset, bytes);
}

/* ---- Counting ---- */

static bool use(struct judge *judge, enum use what, uint64_t offset,
                uint64_t bytes)
{
    const uint64_t end = judge->clusters << judge->cluster_bits;
    uint64_t first, last;

    if (bytes == 0)
        return true;
    if (offset >= end || bytes > end - offset)
        return false;
    first = offset >> judge->cluster_bits;
    last = (offset + bytes - 1) >> judge->cluster_bits;
    for (uint64_t i = first; i <= last; i++) {
        const uint8_t before = judge->uses[i];

        if (before != USE_NONE && (before != what || what == USE_ALONE))
            return false;
        judge->uses[i] = (uint8_t)what;
        if (++judge->references[i] == UINT16_MAX)
            return false;
    }
    return true;
}

static bool is_aligned_to_cluster(const struct judge *judge, uint64_t offset)
{
    return (offset & ((UINT64_C(1) << judge->cluster_bits) - 1)) == 0;
}

static bool has_data_file(const struct judge *judge)
{
    return (judge->incompatible & 4) != 0;
}

static bool is_extended(const struct judge *judge)
{
    return (judge->incompatible & 16) != 0;
}

static bool use_stream(struct judge *judge, uint64_t entry)
{
    const uint32_t size_bits = judge->cluster_bits - 8;
    const uint32_t shift = 62 - size_bits;
    const uint64_t offset = entry & ((UINT64_C(1) << shift) - 1);
    const uint64_t more = (entry & ~(COPIED | COMPRESSED)) >> shift;
    const uint64_t file_end = judge->clusters << judge->cluster_bits;
    uint64_t end = (offset & ~UINT64_C(511)) + (more + 1) * 512;

    if (end > file_end)
        end = file_end;
    return !has_data_file(judge) && (entry & COPIED) == 0 && offset < end &&
           use(judge, USE_DATA, offset, end - offset);
}

static bool use_entry(struct judge *judge, uint64_t entry, uint64_t bitmap,
                      uint64_t guest_offset)
{
    const uint64_t offset = entry & OFFSET;

    if ((bitmap >> 32 & bitmap & UINT32_MAX) != 0)
        return false;
    if (entry & COMPRESSED)
        return bitmap == 0 && use_stream(judge, entry);
    if ((entry & ~(COPIED | OFFSET | 1)) != 0)
        return false;
    if ((entry & 1) != 0 && (judge->version < 3 || is_extended(judge)))
        return false;
    if (has_data_file(judge) &&
        (offset != 0 || (entry & COPIED) != 0 || (uint32_t)bitmap != 0))
        return offset == guest_offset;
    if (offset == 0)
        return (entry & COPIED) == 0 && (uint32_t)bitmap == 0;
    return is_aligned_to_cluster(judge, offset) &&
           use(judge, USE_DATA, offset, UINT64_C(1) << judge->cluster_bits);
}

static uint64_t entry_bytes(const struct judge *judge)
{
    return is_extended(judge) ? 16 : 8;
}

static uint64_t l2_entries(const struct judge *judge)
{
    return (UINT64_C(1) << judge->cluster_bits) / entry_bytes(judge);
}

static bool use_l2(struct judge *judge, uint64_t table, uint64_t guest_offset)
{
    const uint64_t count = l2_entries(judge);

    if (judge->entries_left < count)
        return false;
    judge->entries_left -= (uint32_t)count;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = table + i * entry_bytes(judge);

        if (!use_entry(judge, number(judge, at, 8),
                       is_extended(judge) ? number(judge, at + 8, 8) : 0,
                       guest_offset + (i << judge->cluster_bits)))
            return false;
    }
    return true;
}

/* Disks may share a table; one disk may not use it twice. */
static bool is_new_in_tree(struct judge *judge, uint64_t table)
{
    uint8_t *tree = &judge->trees[table >> judge->cluster_bits];
    const bool is_new = *tree != judge->tree;

    *tree = judge->tree;
    return is_new;
}

static bool use_l1(struct judge *judge, uint64_t table, uint64_t count)
{
    const uint64_t l1_range = l2_entries(judge) << judge->cluster_bits;

    if (judge->entries_left < count || !is_aligned_to_cluster(judge, table) ||
        table > judge->clusters << judge->cluster_bits ||
        !use(judge, USE_ALONE, table, count * 8))
        return false;
    judge->entries_left -= (uint32_t)count;
    judge->tree++;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t entry = number(judge, table + i * 8, 8);

        if (entry == 0)
            continue;
        if ((entry & ~(COPIED | OFFSET)) != 0 || (entry & OFFSET) == 0 ||
            !is_aligned_to_cluster(judge, entry & OFFSET) ||
            !use(judge, USE_L2, entry & OFFSET,
                 UINT64_C(1) << judge->cluster_bits) ||
            !is_new_in_tree(judge, entry & OFFSET) ||
            !use_l2(judge, entry & OFFSET, i * l1_range))
            return false;
    }
    return true;
}

/* ---- Refcounts ---- */

static uint64_t refcount_of(const struct judge *judge, uint64_t cluster)
{
    const uint64_t table = number(judge, 48, 8);
    const uint64_t table_entries =
        (number(judge, 56, 4) << judge->cluster_bits) / 8;
    const uint32_t block_bits = judge->cluster_bits + 3 - judge->refcount_order;
    const uint64_t in_block = cluster & ((UINT64_C(1) << block_bits) - 1);
    const uint32_t bits = UINT32_C(1) << judge->refcount_order;
    uint64_t block;

    if (cluster >> block_bits >= table_entries)
        return 0;
    block = number(judge, table + (cluster >> block_bits) * 8, 8);
    if (block == 0)
        return 0;
    if (bits >= 8)
        return number(judge, block + in_block * bits / 8, bits / 8);
    return number(judge, block + in_block * bits / 8, 1) >>
               (in_block * bits % 8) &
           ((1u << bits) - 1);
}

static bool use_refcounts(struct judge *judge)
{
    const uint64_t cluster = UINT64_C(1) << judge->cluster_bits;
    const uint64_t table = number(judge, 48, 8);
    const uint64_t bytes = number(judge, 56, 4) << judge->cluster_bits;

    if (!is_aligned_to_cluster(judge, table) ||
        judge->entries_left < bytes / 8 || !use(judge, USE_ALONE, table, bytes))
        return false;
    judge->entries_left -= (uint32_t)(bytes / 8);
    for (uint64_t i = 0; i < bytes / 8; i++) {
        const uint64_t block = number(judge, table + i * 8, 8);

        if (!is_aligned_to_cluster(judge, block))
            return false;
        if (block != 0 && !use(judge, USE_ALONE, block, cluster))
            return false;
    }
    return true;
}

static bool counts_suffice(const struct judge *judge)
{
    for (uint64_t i = 0; i < judge->clusters; i++) {
        if (refcount_of(judge, i) < judge->references[i])
            return false;
    }
    return true;
}

/* What a rebuild could not write down. */
static bool counts_fit(const struct judge *judge)
{
    const uint32_t bits = UINT32_C(1) << judge->refcount_order;

    for (uint64_t i = 0; bits < 16 && i < judge->clusters; i++) {
        if (judge->references[i] >> bits != 0)
            return false;
    }
    return true;
}

static bool is_alone(const struct judge *judge, uint64_t entry)
{
    const uint64_t cluster = (entry & OFFSET) >> judge->cluster_bits;

    return (entry & COPIED) == 0 || (judge->references[cluster] == 1 &&
                                     refcount_of(judge, cluster) == 1);
}

/* Of the active tree, whose entries are known to be well formed. */
static bool flags_agree(const struct judge *judge)
{
    const uint64_t table = number(judge, 40, 8);

    for (uint64_t i = 0; i < number(judge, 36, 4); i++) {
        const uint64_t l1_entry = number(judge, table + i * 8, 8);

        if (!is_alone(judge, l1_entry))
            return false;
        for (uint64_t j = 0; l1_entry != 0 && j < l2_entries(judge); j++) {
            const uint64_t entry =
                number(judge, (l1_entry & OFFSET) + j * entry_bytes(judge), 8);

            if ((entry & COMPRESSED) == 0 && !has_data_file(judge) &&
                !is_alone(judge, entry))
                return false;
        }
    }
    return true;
}

/* ---- Snapshots, and what extensions point to ---- */

static uint64_t snapshot_bytes(const uint8_t *image, size_t length, uint64_t at)
{
    const uint64_t bytes = 40 + image_number(image, length, at + 36, 4) +
                           image_number(image, length, at + 12, 2) +
                           image_number(image, length, at + 14, 2);

    return (bytes + 7) & ~UINT64_C(7);
}

uint64_t snapshot_table_end(const uint8_t *image, size_t length)
{
    uint64_t count = image_number(image, length, 60, 4);
    uint64_t at = image_number(image, length, 64, 8);

    if (count > MAX_SNAPSHOTS)
        count = MAX_SNAPSHOTS;
    while (count-- > 0 && at < length)
        at += snapshot_bytes(image, length, at);
    return at;
}

static bool use_snapshots(struct judge *judge)
{
    const uint64_t count = number(judge, 60, 4);
    const uint64_t table = number(judge, 64, 8);
    uint64_t at = table;

    if (count == 0)
        return true;
    if (count > MAX_SNAPSHOTS || !is_aligned_to_cluster(judge, table) ||
        table >= judge->length || has_data_file(judge))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (at >= judge->length ||
            !use_l1(judge, number(judge, at, 8), number(judge, at + 8, 4)))
            return false;
        at += snapshot_bytes(judge->image, judge->length, at);
    }
    if (at > judge->clusters << judge->cluster_bits)
        return false;
    return use(judge, USE_ALONE, table, at - table);
}

static bool use_extensions(struct judge *judge)
{
    uint64_t at = judge->version < 3 ? 72 : number(judge, 100, 4);

    /* A LUKS header can be corrupt by itself. */
    if (number(judge, 32, 4) == 2)
        return false;
    while (at < UINT64_C(1) << judge->cluster_bits) {
        const uint64_t type = number(judge, at, 4);
        const uint64_t length = number(judge, at + 4, 4);

        if (type == 0)
            break;
        if (type == 0x0537be77 &&
            !use(judge, USE_ALONE, number(judge, at + 8, 8),
                 number(judge, at + 16, 8)))
            return false;
        at += 8 + ((length + 7) & ~UINT64_C(7));
    }
    return true;
}

static bool judge_qcow2(struct judge *judge)
{
    if (!use(judge, USE_ALONE, 0, 1) || !use_extensions(judge) ||
        !use_refcounts(judge) ||
        !use_l1(judge, number(judge, 40, 8), number(judge, 36, 4)) ||
        !use_snapshots(judge))
        return false;
    if (judge->incompatible & 1)
        return counts_fit(judge);
    return counts_suffice(judge) && flags_agree(judge);
}

/* ---- Version 1: one byte of `uses` for each byte of the file ---- */

static bool use_bytes(struct judge *judge, uint64_t offset, uint64_t bytes)
{
    if (offset >= judge->length)
        return false;
    if (bytes > judge->length - offset)
        bytes = judge->length - offset;
    for (uint64_t i = 0; i < bytes; i++) {
        if (judge->uses[offset + i]++ != 0)
            return false;
    }
    return true;
}

static bool use_entry1(struct judge *judge, uint64_t entry)
{
    const uint64_t cluster = UINT64_C(1) << judge->cluster_bits;
    const uint32_t shift = 63 - judge->cluster_bits;

    if (entry == 0)
        return true;
    if (entry & COPIED) /* here: compressed */
        return use_bytes(judge, entry & ((UINT64_C(1) << shift) - 1),
                         entry >> shift & (cluster - 1));
    return is_aligned_to_cluster(judge, entry) &&
           use_bytes(judge, entry, cluster);
}

static bool use_l2_1(struct judge *judge, uint64_t table, uint64_t count)
{
    if (table % 8 != 0 || !use_bytes(judge, table, count * 8) ||
        judge->entries_left < count)
        return false;
    judge->entries_left -= (uint32_t)count;
    for (uint64_t i = 0; i < count; i++) {
        if (!use_entry1(judge, number(judge, table + i * 8, 8)))
            return false;
    }
    return true;
}

static bool judge_qcow1(struct judge *judge)
{
    const uint32_t l2_bits = (uint32_t)number(judge, 33, 1);
    const uint64_t size = number(judge, 24, 8);
    const uint64_t table = number(judge, 40, 8);
    uint64_t range, count;

    if (l2_bits < 6 || l2_bits > 13)
        return false;
    range = UINT64_C(1) << (judge->cluster_bits + l2_bits);
    count = size / range + (size % range != 0 ? 1 : 0);
    if (number(judge, 8, 8) != 0 &&
        !use_bytes(judge, number(judge, 8, 8), number(judge, 16, 4)))
        return false; /* the name of the backing file */
    if (count > judge->entries_left || !use_bytes(judge, 0, 48) ||
        !use_bytes(judge, table, count * 8))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t entry = number(judge, table + i * 8, 8);

        if (entry != 0 && !use_l2_1(judge, entry, UINT64_C(1) << l2_bits))
            return false;
    }
    return true;
}

/* ---- All ---- */

static bool judge_image(struct judge *judge)
{
    const size_t file_clusters = (judge->length >> judge->cluster_bits) + 1;
    bool sound;

    judge->clusters =
        (judge->length + (UINT64_C(1) << judge->cluster_bits) - 1) >>
        judge->cluster_bits;
    judge->uses =
        calloc(judge->version == 1 ? judge->length + 1 : file_clusters, 1);
    judge->references = calloc(file_clusters, sizeof(*judge->references));
    judge->trees = calloc(file_clusters, 1);
    FUZZ_ASSERT(judge->uses != NULL && judge->references != NULL &&
                judge->trees != NULL);
    sound = judge->version == 1 ? judge_qcow1(judge) : judge_qcow2(judge);
    free(judge->trees);
    free(judge->references);
    free(judge->uses);
    return sound;
}

bool image_is_sound(const uint8_t *image, size_t length, uint32_t most_entries)
{
    struct judge judge = {
        .image = image,
        .length = length,
        .version = (uint32_t)image_number(image, length, 4, 4),
        .refcount_order = 4,
        .entries_left = most_entries,
    };

    if (length < 72 || length > MAX_IMAGE_BYTES ||
        memcmp(image, "QFI\xfb", 4) != 0 || judge.version < 1 ||
        judge.version > 3)
        return false;
    judge.cluster_bits = (uint32_t)(judge.version == 1 ? number(&judge, 32, 1)
                                                       : number(&judge, 20, 4));
    if (judge.version == 3) {
        judge.incompatible = number(&judge, 72, 8);
        judge.refcount_order = (uint32_t)number(&judge, 96, 4);
    }
    if (judge.cluster_bits < 9 || judge.cluster_bits > 21 ||
        judge.refcount_order > 6 || (judge.incompatible & ~UINT64_C(0x1d)) != 0)
        return false;
    return judge_image(&judge);
}
