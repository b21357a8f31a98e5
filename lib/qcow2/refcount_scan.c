/* SPDX-License-Identifier: MIT */
#include "qcow2/refcount_scan.h"

#include <stdbool.h>
#include <string.h>

#include "format/refcount.h"

/* Bit 0 of each count of a word. */
static const uint64_t lowest_bits[] = {
    UINT64_MAX,
    UINT64_C(0x5555555555555555),
    UINT64_C(0x1111111111111111),
    UINT64_C(0x0101010101010101),
    UINT64_C(0x0001000100010001),
    UINT64_C(0x0000000100000001),
    1,
};

/* Byte order does not matter: whole counts are compared with zero. */
static uint64_t word_at(const uint8_t *block, uint64_t index,
                        uint32_t refcount_order)
{
    uint64_t word;

    memcpy(&word, block + ((index << refcount_order) / 8), sizeof(word));
    return word;
}

/*
 * Whether a count of the word is zero: subtracting 1 from each sets the highest
 * bit of a count that had it clear only where the count, or one below it that
 * lends to it, is zero.
 */
static bool has_zero(uint64_t word, uint32_t refcount_order)
{
    const uint64_t lowest = lowest_bits[refcount_order];
    const uint64_t highest = lowest << ((1U << refcount_order) - 1);

    return ((word - lowest) & ~word & highest) != 0;
}

uint64_t refcount_find_zero(const uint8_t *block, uint64_t from, uint64_t to,
                            uint32_t refcount_order)
{
    const uint64_t per_word = UINT64_C(64) >> refcount_order;

    while (from < to) {
        if (from % per_word == 0 &&
            !has_zero(word_at(block, from, refcount_order), refcount_order))
            from += per_word;
        else if (refcount_get(block, from, refcount_order) == 0)
            return from;
        else
            from++;
    }
    return to;
}

uint64_t refcount_find_nonzero(const uint8_t *block, uint64_t from, uint64_t to,
                               uint32_t refcount_order)
{
    const uint64_t per_word = UINT64_C(64) >> refcount_order;

    while (from < to) {
        if (from % per_word == 0 && word_at(block, from, refcount_order) == 0)
            from += per_word;
        else if (refcount_get(block, from, refcount_order) != 0)
            return from;
        else
            from++;
    }
    return to;
}
