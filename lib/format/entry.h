/* SPDX-License-Identifier: MIT */
/*
 * L1 and L2 entries of QCOW2: where one guest cluster is stored.
 *
 *   L1        63 COPIED  62..56 reserved  55..9 L2 table     8..0 reserved
 *   standard  63 COPIED  62 = 0  61..56 reserved  55..9 host cluster
 *                                                 8..1 reserved  0 zero (v3)
 *   compressed  63 = 0   62 = 1  61..x sectors - 1  x-1..0 byte offset
 *                                                   x = 70 - cluster_bits
 *   extended: a standard or compressed entry (bit 0 unused), then a bitmap:
 *             63..32 subcluster reads as zero, 31..0 subcluster is allocated
 *
 * Reserved bits are ignored, as QEMU ignores them: only check reports them.
 * spec: qcow2 "L1 table entry", "L2 table entry", "Extended L2 Entries".
 */
#ifndef BYRE_FORMAT_ENTRY_H
#define BYRE_FORMAT_ENTRY_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define QCOW2_ENTRY_COPIED      (UINT64_C(1) << 63)
#define QCOW2_ENTRY_COMPRESSED  (UINT64_C(1) << 62)
#define QCOW2_ENTRY_ZERO        (UINT64_C(1) << 0)
#define QCOW2_ENTRY_OFFSET_MASK UINT64_C(0x00fffffffffffe00)

#define QCOW2_L1_RESERVED_MASK UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_RESERVED_MASK UINT64_C(0x3f000000000001fe)

static_assert((QCOW2_ENTRY_COPIED | QCOW2_ENTRY_OFFSET_MASK |
               QCOW2_L1_RESERVED_MASK) == UINT64_MAX,
              "every bit of an L1 entry has a meaning");
static_assert((QCOW2_ENTRY_COPIED | QCOW2_ENTRY_COMPRESSED | QCOW2_ENTRY_ZERO |
               QCOW2_ENTRY_OFFSET_MASK | QCOW2_L2_RESERVED_MASK) == UINT64_MAX,
              "every bit of a standard entry has a meaning");

#define QCOW2_SUBCLUSTERS 32

enum l2_kind {
    L2_UNALLOCATED, /* look in the backing image */
    L2_ZERO,        /* reads as zeroes, nothing stored */
    L2_ZERO_ALLOC,  /* reads as zeroes, a cluster is reserved */
    L2_RESERVED,    /* unallocated, but a cluster is reserved (extended) */
    L2_DATA,
    L2_COMPRESSED,
    L2_INVALID /* the format forbids it */
};

/* What the meaning of an entry depends on. */
struct l2_format {
    uint32_t version;
    uint32_t cluster_bits;
    bool extended;  /* extended L2 entries */
    bool data_file; /* guest clusters live in an external data file */
};

struct l2_entry {
    enum l2_kind kind;
    uint64_t host_offset;      /* of the cluster; of the compressed stream */
    uint32_t compressed_bytes; /* the most the stream can span; else 0 */
};

/* The L2 table an L1 entry points to; 0: none.  False if it is unaligned. */
static inline bool l1_entry_decode(uint64_t raw, uint32_t cluster_bits,
                                   uint64_t *ret_l2_offset)
{
    const uint64_t offset = raw & QCOW2_ENTRY_OFFSET_MASK;

    if ((offset & ((UINT64_C(1) << cluster_bits) - 1)) != 0)
        return false;
    *ret_l2_offset = offset;
    return true;
}

static inline uint64_t l1_entry_encode(uint64_t l2_offset, bool copied)
{
    return l2_offset | (copied ? QCOW2_ENTRY_COPIED : 0);
}

/*
 * Decodes an entry without subclusters, or the first word of an extended one
 * (as a whole cluster: L2_DATA or L2_UNALLOCATED; its bitmap decides more).
 * An entry that the format forbids gives L2_INVALID.
 */
struct l2_entry l2_entry_decode(uint64_t raw, const struct l2_format *format);

/* The inverse for all kinds but L2_INVALID and L2_RESERVED. */
uint64_t l2_entry_encode(const struct l2_entry *entry, bool copied,
                         const struct l2_format *format);

/*
 * What subcluster `index` of an extended entry is, and in *ret_count for how
 * many subclusters from there it stays so.  L2_INVALID if any of the entry's
 * subclusters contradicts it; compressed entries ignore the bitmap.
 */
enum l2_kind l2_subcluster_kind(uint64_t raw, uint64_t bitmap, uint32_t index,
                                const struct l2_format *format,
                                uint32_t *ret_count);

#endif
