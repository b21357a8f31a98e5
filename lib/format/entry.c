/* SPDX-License-Identifier: MIT */
#include "format/entry.h"

#define SECTOR_BITS  9
#define SECTOR_BYTES (UINT64_C(1) << SECTOR_BITS)

/* Host offsets end here in every kind of entry. */
#define HOST_OFFSET_BITS 56

static const struct l2_entry invalid_entry = { .kind = L2_INVALID };

/* spec: qcow2 "Compressed Clusters Descriptor": x, the bits of the offset. */
static uint32_t compressed_offset_bits(uint32_t cluster_bits)
{
    return 70 - cluster_bits;
}

static struct l2_entry compressed_decode(uint64_t raw,
                                         const struct l2_format *format)
{
    const uint32_t x = compressed_offset_bits(format->cluster_bits);
    const uint64_t offset = raw & ((UINT64_C(1) << x) - 1);
    const uint64_t sectors = ((raw & (QCOW2_ENTRY_COMPRESSED - 1)) >> x) + 1;

    /* An external data file is raw: nothing in it is compressed. */
    if (offset >> HOST_OFFSET_BITS != 0 || format->data_file)
        return invalid_entry;
    return (struct l2_entry){
        .kind = L2_COMPRESSED,
        .host_offset = offset,
        .compressed_bytes =
            (uint32_t)(sectors * SECTOR_BYTES - (offset & (SECTOR_BYTES - 1))),
    };
}

static enum l2_kind standard_kind(uint64_t raw, uint64_t offset,
                                  const struct l2_format *format)
{
    if ((raw & QCOW2_ENTRY_ZERO) != 0 && !format->extended) {
        if (format->version < 3)
            return L2_INVALID;
        return offset != 0 ? L2_ZERO_ALLOC : L2_ZERO;
    }
    if (offset != 0)
        return L2_DATA;
    /* Guest cluster 0 lies at offset 0 of an external data file. */
    if (format->data_file && (raw & QCOW2_ENTRY_COPIED) != 0)
        return L2_DATA;
    return L2_UNALLOCATED;
}

struct l2_entry l2_entry_decode(uint64_t raw, const struct l2_format *format)
{
    const uint64_t offset = raw & QCOW2_ENTRY_OFFSET_MASK;
    enum l2_kind kind;

    if ((raw & QCOW2_ENTRY_COMPRESSED) != 0)
        return compressed_decode(raw, format);
    if ((offset & ((UINT64_C(1) << format->cluster_bits) - 1)) != 0)
        return invalid_entry;

    kind = standard_kind(raw, offset, format);
    if (kind == L2_INVALID)
        return invalid_entry;
    return (struct l2_entry){ .kind = kind, .host_offset = offset };
}

static uint64_t compressed_encode(const struct l2_entry *entry,
                                  uint32_t cluster_bits)
{
    const uint64_t last = entry->host_offset + entry->compressed_bytes - 1;
    const uint64_t more_sectors =
        (last >> SECTOR_BITS) - (entry->host_offset >> SECTOR_BITS);

    return QCOW2_ENTRY_COMPRESSED |
           more_sectors << compressed_offset_bits(cluster_bits) |
           entry->host_offset;
}

/* COPIED is for entries that own a cluster of their own. */
uint64_t l2_entry_encode(const struct l2_entry *entry, bool copied,
                         const struct l2_format *format)
{
    const uint64_t copied_bit = copied ? QCOW2_ENTRY_COPIED : 0;
    /* With subclusters the bitmap, not the descriptor, says zero. */
    const uint64_t zero_bit = format->extended ? 0 : QCOW2_ENTRY_ZERO;

    assert(entry->kind != L2_INVALID);
    switch (entry->kind) {
    case L2_UNALLOCATED:
        return 0;
    case L2_ZERO:
        return zero_bit;
    case L2_ZERO_ALLOC:
        return entry->host_offset | copied_bit | zero_bit;
    case L2_RESERVED:
    case L2_DATA:
        return entry->host_offset | copied_bit;
    case L2_COMPRESSED:
        return compressed_encode(entry, format->cluster_bits);
    case L2_INVALID:
        break;
    }
    return 0;
}

/* How many ones `bits` has in a row from bit `index` on. */
static uint32_t run_of_ones(uint32_t bits, uint32_t index)
{
    /* The upper half is zero, so the inverse always has a one to find. */
    return (uint32_t)__builtin_ctzll(~((uint64_t)bits >> index));
}

enum l2_kind l2_subcluster_kind(uint64_t raw, uint64_t bitmap, uint32_t index,
                                const struct l2_format *format,
                                uint32_t *ret_count)
{
    assert(index < QCOW2_SUBCLUSTERS);

    const enum l2_kind kind = l2_entry_decode(raw, format).kind;
    const uint32_t allocated = (uint32_t)bitmap;
    const uint32_t zero = (uint32_t)(bitmap >> QCOW2_SUBCLUSTERS);
    const uint32_t bit = UINT32_C(1) << index;
    const bool has_cluster = kind == L2_DATA;
    /* What may be allocated: nothing without a cluster, and no zeroes. */
    const uint32_t forbidden = has_cluster ? zero : UINT32_MAX;

    *ret_count = QCOW2_SUBCLUSTERS - index;
    if (kind == L2_COMPRESSED)
        return L2_COMPRESSED;
    if (kind == L2_INVALID || (allocated & forbidden) != 0)
        return L2_INVALID;

    if ((zero & bit) != 0) {
        *ret_count = run_of_ones(zero, index);
        return has_cluster ? L2_ZERO_ALLOC : L2_ZERO;
    }
    if ((allocated & bit) != 0) {
        *ret_count = run_of_ones(allocated, index);
        return L2_DATA;
    }
    *ret_count = run_of_ones(~(allocated | zero), index);
    return has_cluster ? L2_RESERVED : L2_UNALLOCATED;
}
