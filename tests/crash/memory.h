/* SPDX-License-Identifier: MIT */
/*
 * Memory for the tests themselves, which has to be there: no allocation that a
 * test makes fail on purpose is one of these.
 */
#ifndef BYRE_TESTS_CRASH_MEMORY_H
#define BYRE_TESTS_CRASH_MEMORY_H

#include <stdlib.h>
#include <string.h>

/* Zeroed; released with free(). */
static inline void *memory_new(size_t bytes)
{
    void *memory = aligned_alloc(16, (bytes + 16) & ~(size_t)15);

    if (memory == NULL)
        abort();
    memset(memory, 0, bytes);
    return memory;
}

/* The same with the first `used` bytes of `old`, which is released. */
static inline void *memory_grow(void *old, size_t used, size_t bytes)
{
    void *memory = memory_new(bytes);

    if (used > 0)
        memcpy(memory, old, used);
    free(old);
    return memory;
}

#endif
