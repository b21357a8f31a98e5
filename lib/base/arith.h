/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on numbers that come from an image: checked, aligned, divided.
 */
#ifndef BYRE_BASE_ARITH_H
#define BYRE_BASE_ARITH_H

#include <stdbool.h>
#include <stdint.h>

/* Each returns true, and leaves *ret alone, if the result does not fit. */
static inline bool add_overflow(uint64_t a, uint64_t b, uint64_t *ret)
{
    if (a > UINT64_MAX - b)
        return true;
    *ret = a + b;
    return false;
}

static inline bool mul_overflow(uint64_t a, uint64_t b, uint64_t *ret)
{
    if (b != 0 && a > UINT64_MAX / b)
        return true;
    *ret = a * b;
    return false;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t div_round_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* `alignment` is a power of two, and the result must fit. */
static inline uint64_t align_up(uint64_t a, uint64_t alignment)
{
    return (a + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t align_down(uint64_t a, uint64_t alignment)
{
    return a & ~(alignment - 1);
}

static inline uint32_t log2_of(uint64_t power_of_two)
{
    uint32_t bits = 0;

    while (power_of_two >> bits > 1)
        bits++;
    return bits;
}

static inline bool is_aligned(uint64_t a, uint64_t alignment)
{
    return (a & (alignment - 1)) == 0;
}

/* Whether [offset, offset + length) lies within a thing of `size`. */
static inline bool range_within(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

#endif
