/* SPDX-License-Identifier: MIT */
/*
 * Searches over the raw bytes of refcounts, a 64-bit word at a time where all
 * counts of a word say the same.
 */
#ifndef BYRE_QCOW2_REFCOUNT_SCAN_H
#define BYRE_QCOW2_REFCOUNT_SCAN_H

#include <stdint.h>

/*
 * The first count in [from, to) that is zero, or `to`.  `block` holds whole
 * 64-bit words.
 */
uint64_t refcount_find_zero(const uint8_t *block, uint64_t from, uint64_t to,
                            uint32_t refcount_order);

/* The first that is not zero, or `to`. */
uint64_t refcount_find_nonzero(const uint8_t *block, uint64_t from, uint64_t to,
                               uint32_t refcount_order);

#endif
