/* SPDX-License-Identifier: MIT */
/*
 * Integers as byte arrays: the only place that knows of byte order.  Images are
 * big-endian; the IVs of their encryption and bitmaps are little-endian.
 */
#ifndef BYRE_BASE_BYTES_H
#define BYRE_BASE_BYTES_H

#include <stdint.h>

static inline uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)((uint16_t)p[0] << 8 | p[1]);
}

static inline uint32_t be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static inline uint64_t be64_get(const uint8_t *p)
{
    return (uint64_t)be32_get(p) << 32 | be32_get(p + 4);
}

static inline void be16_put(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void be32_put(uint8_t *p, uint32_t value)
{
    be16_put(p, (uint16_t)(value >> 16));
    be16_put(p + 2, (uint16_t)value);
}

static inline void be64_put(uint8_t *p, uint64_t value)
{
    be32_put(p, (uint32_t)(value >> 32));
    be32_put(p + 4, (uint32_t)value);
}

static inline void le32_put(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

static inline void le64_put(uint8_t *p, uint64_t value)
{
    le32_put(p, (uint32_t)value);
    le32_put(p + 4, (uint32_t)(value >> 32));
}

static inline uint64_t le64_get(const uint8_t *p)
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

#endif
