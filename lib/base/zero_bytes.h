/* SPDX-License-Identifier: MIT */
#ifndef BYRE_BASE_ZERO_BYTES_H
#define BYRE_BASE_ZERO_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* memcmp() of a buffer with itself, one step on, is the fastest look there is.
 */
static inline bool bytes_are_zero(const uint8_t *buf, size_t length)
{
    const size_t head = length < 16 ? length : 16;

    for (size_t i = 0; i < head; i++) {
        if (buf[i] != 0)
            return false;
    }
    return length <= head || memcmp(buf, buf + head, length - head) == 0;
}

#endif
