/* SPDX-License-Identifier: MIT */
/*
 * Refcounts: a table of block offsets, and blocks of counts 1 to 64 bits wide.
 * Widths of a byte and more are big-endian, narrower ones lie in their byte
 * from the lowest bit on.  spec: qcow2 "Host cluster management".
 */
#ifndef BYRE_FORMAT_REFCOUNT_H
#define BYRE_FORMAT_REFCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#define QCOW2_REFCOUNT_TABLE_OFFSET_MASK UINT64_C(0xfffffffffffffe00)

/*
 * The block a table entry points to; 0: none.  False, *ret_block_offset
 * untouched, if it is unaligned or ends past what a file can hold.
 */
bool refcount_table_entry_decode(uint64_t raw, uint32_t cluster_bits,
                                 uint64_t *ret_block_offset);

/* Counts in one block. */
static inline uint64_t refcounts_per_block(uint32_t cluster_bits,
                                           uint32_t refcount_order)
{
    return UINT64_C(1) << (cluster_bits + 3 - refcount_order);
}

static inline uint64_t refcount_max(uint32_t refcount_order)
{
    return UINT64_MAX >> (64 - (UINT32_C(1) << refcount_order));
}

uint64_t refcount_get(const uint8_t *block, uint64_t index,
                      uint32_t refcount_order);

/* `value` is at most refcount_max(). */
void refcount_put(uint8_t *block, uint64_t index, uint32_t refcount_order,
                  uint64_t value);

#endif
