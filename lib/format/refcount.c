/* SPDX-License-Identifier: MIT */
#include "format/refcount.h"

#include <assert.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "store/store.h"

bool refcount_table_entry_decode(uint64_t raw, uint32_t cluster_bits,
                                 uint64_t *ret_block_offset)
{
    const uint64_t offset = raw & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
    const uint64_t cluster_bytes = UINT64_C(1) << cluster_bits;

    if (!is_aligned(offset, cluster_bytes) ||
        !range_within(offset, cluster_bytes, STORE_MAX_OFFSET))
        return false;
    *ret_block_offset = offset;
    return true;
}

/* Where a count narrower than a byte lies: its byte, its shift, its mask. */
struct packed {
    uint64_t byte;
    unsigned shift;
    unsigned mask;
};

static struct packed packed_at(uint64_t index, uint32_t refcount_order)
{
    const unsigned bits = 1U << refcount_order;
    const unsigned per_byte = 8 / bits;

    return (struct packed){
        .byte = index / per_byte,
        .shift = (unsigned)(index % per_byte) * bits,
        .mask = (1U << bits) - 1,
    };
}

uint64_t refcount_get(const uint8_t *block, uint64_t index,
                      uint32_t refcount_order)
{
    switch (refcount_order) {
    case 3:
        return block[index];
    case 4:
        return be16_get(block + index * 2);
    case 5:
        return be32_get(block + index * 4);
    case 6:
        return be64_get(block + index * 8);
    default: {
        const struct packed at = packed_at(index, refcount_order);

        return (block[at.byte] >> at.shift) & at.mask;
    }
    }
}

void refcount_put(uint8_t *block, uint64_t index, uint32_t refcount_order,
                  uint64_t value)
{
    assert(value <= refcount_max(refcount_order));

    switch (refcount_order) {
    case 3:
        block[index] = (uint8_t)value;
        return;
    case 4:
        be16_put(block + index * 2, (uint16_t)value);
        return;
    case 5:
        be32_put(block + index * 4, (uint32_t)value);
        return;
    case 6:
        be64_put(block + index * 8, value);
        return;
    default: {
        const struct packed at = packed_at(index, refcount_order);
        const unsigned others = block[at.byte] & ~(at.mask << at.shift);

        block[at.byte] = (uint8_t)(others | (unsigned)value << at.shift);
    }
    }
}
