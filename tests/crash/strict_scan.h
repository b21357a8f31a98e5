/* SPDX-License-Identifier: MIT */
/*
 * The inside of the strict checker: one scan of an image.
 */
#ifndef BYRE_TESTS_CRASH_STRICT_SCAN_H
#define BYRE_TESTS_CRASH_STRICT_SCAN_H

#include "strict.h"

/* What a host cluster is used for. */
enum strict_use {
    USE_NONE,
    USE_HEADER,
    USE_REFCOUNT_TABLE,
    USE_REFCOUNT_BLOCK,
    USE_L1,
    USE_SNAPSHOT_TABLE,
    USE_LUKS,
    USE_BITMAPS,
    /* Those below may be shared by several trees. */
    USE_L2,
    USE_DATA,
    USE_COMPRESSED
};

struct strict_cluster {
    uint32_t references;
    uint32_t last_tree; /* that referred to it */
    uint8_t use;
};

struct strict_scan {
    const struct strict_source *source;
    struct strict_report *report;
    unsigned version;
    unsigned cluster_bits;
    uint64_t cluster_bytes;
    uint64_t size_bytes;
    uint64_t incompatible;
    uint64_t autoclear;
    unsigned refcount_order;
    uint64_t refcount_table;
    uint64_t refcount_table_clusters;

    struct strict_cluster *clusters; /* of the file, and one beyond */
    uint64_t cluster_count;
    uint64_t *stored; /* the stored count of each */
};

#define INCOMPATIBLE_DIRTY       (UINT64_C(1) << 0)
#define INCOMPATIBLE_CORRUPT     (UINT64_C(1) << 1)
#define INCOMPATIBLE_DATA_FILE   (UINT64_C(1) << 2)
#define INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4)
#define INCOMPATIBLE_KNOWN       UINT64_C(0x1f)

static inline uint64_t strict_be(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;

    for (size_t i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline uint16_t strict_be16(const uint8_t *bytes)
{
    return (uint16_t)strict_be(bytes, 2);
}

static inline uint32_t strict_be32(const uint8_t *bytes)
{
    return (uint32_t)strict_be(bytes, 4);
}

static inline uint64_t strict_be64(const uint8_t *bytes)
{
    return strict_be(bytes, 8);
}

/* Bits `from` to `to` of a word, both included, in their place. */
static inline uint64_t strict_bits(uint64_t word, unsigned from, unsigned to)
{
    return word & (UINT64_MAX >> (63 - to)) & (UINT64_MAX << from);
}

/* A new copy of the range; NULL (a corruption) if it cannot be had. */
uint8_t *strict_load(struct strict_scan *scan, const char *what,
                     uint64_t offset, uint64_t length);

/* Counts a corruption that stored counts have no part in, with its reason. */
void strict_structural(struct strict_scan *scan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Counts a corruption that shows only beside the stored counts. */
void strict_corruption(struct strict_scan *scan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * One reference of the tree `tree` to each cluster that the range touches; a
 * use that excludes another one is a corruption.
 */
void strict_refer(struct strict_scan *scan, enum strict_use use, uint32_t tree,
                  uint64_t offset, uint64_t length);

/* Whether a table's offset is one; an unaligned one is a corruption. */
bool strict_is_aligned(struct strict_scan *scan, const char *what,
                       uint64_t offset);

/* What counts references: qcow2. */
void strict_scan_tree(struct strict_scan *scan, uint64_t l1_offset,
                      uint64_t l1_entries, uint32_t tree);
void strict_scan_snapshots(struct strict_scan *scan, uint64_t offset,
                           uint32_t count);
void strict_scan_extensions(struct strict_scan *scan, const uint8_t *header,
                            uint64_t start, uint64_t end);

/* Loads the stored counts, counts their own clusters' references. */
void strict_load_refcounts(struct strict_scan *scan);

/* Compares stored counts with references. */
void strict_compare_refcounts(struct strict_scan *scan);

/* The COPIED flags of the active tree beside the counts. */
void strict_check_copied(struct strict_scan *scan, uint64_t l1_offset,
                         uint64_t l1_entries);

/* A whole image of version 1. */
void strict_scan_qcow1(struct strict_scan *scan);

#endif
