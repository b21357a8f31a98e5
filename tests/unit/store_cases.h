/* SPDX-License-Identifier: MIT */
/*
 * What the tests of all stores share: a pattern to fill them with, and the
 * promise that what lies past the end reads as zeroes.
 */
#ifndef BYRE_TESTS_STORE_CASES_H
#define BYRE_TESTS_STORE_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/store.h"

#define MIB (UINT64_C(1) << 20)

static inline bool all_bytes_are(const uint8_t *buf, size_t length,
                                 uint8_t value)
{
    for (size_t i = 0; i < length; i++) {
        if (buf[i] != value)
            return false;
    }
    return true;
}

/* What byte `offset` of a patterned store holds; never zero. */
static inline uint8_t pattern_at(uint64_t offset)
{
    return (uint8_t)(1 + offset % 251);
}

static inline void pattern_fill(uint8_t *buf, size_t length, uint64_t offset)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = pattern_at(offset + i);
}

static inline uint64_t size_of(struct byre_store *store)
{
    uint64_t size_bytes = 0;

    assert_int_equal(store_get_size(store, &size_bytes, NULL), BYRE_OK);
    return size_bytes;
}

/* Asserts that [offset, offset + length) is of `kind`, however it is split. */
static inline void assert_extent(struct byre_store *store, uint64_t offset,
                                 uint64_t length, uint32_t kind)
{
    const uint64_t end = offset + length;

    while (offset < end) {
        uint64_t got_length = 0;
        uint32_t got_kind = 77;

        assert_int_equal(store_extent(store, offset, end - offset, &got_kind,
                                      &got_length, NULL),
                         BYRE_OK);
        assert_int_equal(got_kind, kind);
        assert_in_range(got_length, 1, end - offset);
        offset += got_length;
    }
}

/* ---- Reads past the end, of every kind of store ---- */

struct end_case {
    const char *name;
    uint64_t offset;
    size_t length;
    size_t data_bytes; /* how many of them are data; the rest reads as zero */
};

/* clang-format off */
static const struct end_case end_cases[] = {
    { "inside",                   10, 50,  50 },
    { "up to the end",           900, 100, 100 },
    { "over the end",            990, 100, 10 },
    { "from the end",           1000, 100, 0 },
    { "far past the end",    1 << 30, 100, 0 },
    { "nothing",                   0, 0,   0 },
    { "up to the last offset", (uint64_t)INT64_MAX - 100, 100, 0 },
    { "over the last offset",  (uint64_t)INT64_MAX - 50,  100, 0 },
    { "past the last offset",  (uint64_t)INT64_MAX + 1,   100, 0 },
    { "at the end of 64 bits",          UINT64_MAX - 100, 100, 0 },
    { "wrapping around",                 UINT64_MAX - 50, 100, 0 },
};
/* clang-format on */

/* `store` holds 1000 bytes, byte i of it is pattern_at(start + i). */
static inline void check_ends(struct byre_store *store, uint64_t start)
{
    assert_int_equal(size_of(store), 1000);
    for (size_t i = 0; i < sizeof(end_cases) / sizeof(end_cases[0]); i++) {
        const struct end_case *c = &end_cases[i];
        uint8_t want[100] = { 0 };
        uint8_t got[101];

        pattern_fill(want, c->data_bytes, start + c->offset);
        memset(got, 0xee, sizeof(got));
        if (store_read(store, c->offset, got, c->length, NULL) != BYRE_OK)
            fail_msg("%s: not read", c->name);
        if (memcmp(got, want, c->length) != 0)
            fail_msg("%s: other bytes", c->name);
        assert_int_equal(got[c->length], 0xee);
    }
    assert_extent(store, 0, 1000, BYRE_STORE_DATA);
    assert_extent(store, 1000, 4096, BYRE_STORE_HOLE);
    assert_extent(store, (uint64_t)INT64_MAX - 10, 100, BYRE_STORE_HOLE);
    assert_extent(store, UINT64_MAX - 100, 100, BYRE_STORE_HOLE);
}

#endif
