/* SPDX-License-Identifier: MIT */
/*
 * What the table-driven tests of lib/format share: a row starts from bytes that
 * decode, patches some of them, and says what must come of it.
 */
#ifndef BYRE_TESTS_FORMAT_CASE_H
#define BYRE_TESTS_FORMAT_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Fails the test with the name of the row. */
#define CHECK(name, condition)                                                 \
    do {                                                                       \
        if (!(condition))                                                      \
            fail_msg("%s: not so: %s", name, #condition);                      \
    } while (0)

/* A big-endian number of `bytes` bytes to store at `at`; 0 bytes: none. */
struct patch {
    size_t at;
    unsigned bytes;
    uint64_t value;
};

static inline void patch_apply(uint8_t *buf, const struct patch *patches,
                               size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (unsigned k = 0; k < patches[i].bytes; k++)
            buf[patches[i].at + k] =
                (uint8_t)(patches[i].value >> 8 * (patches[i].bytes - 1 - k));
    }
}

/* The code of an error before the call, and after one that succeeds. */
#define UNTOUCHED 77

/* Checks the code, and that the message is one line that holds `message`. */
static inline void check_result(const char *name, int r, int want_code,
                                const char *message,
                                const struct byre_error *err)
{
    if (r != want_code)
        fail_msg("%s: returned %d, not %d (%s)", name, r, want_code,
                 r < 0 ? err->message : "");
    CHECK(name, err->code == (r < 0 ? want_code : UNTOUCHED));
    if (r >= 0) {
        CHECK(name, err->message[0] == '\0');
        return;
    }
    CHECK(name, message != NULL);
    if (strstr(err->message, message) == NULL)
        fail_msg("%s: \"%s\" does not hold \"%s\"", name, err->message,
                 message);
    CHECK(name, strchr(err->message, '\n') == NULL);
    CHECK(name, err->message[strlen(err->message) - 1] != '.');
}

/* On the heap and no longer than it is, so that sanitizers see an overread. */
static inline uint8_t *exact_copy(const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);

    assert_non_null(copy);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

static inline bool all_bytes_are(const void *object, size_t length,
                                 uint8_t value)
{
    const uint8_t *p = object;

    for (size_t i = 0; i < length; i++) {
        if (p[i] != value)
            return false;
    }
    return true;
}

/* The same numbers in every run.  *state starts as anything but 0. */
static inline uint64_t next_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Changes up to eight of the `length` bytes, often to telling values. */
static inline void scramble(uint8_t *buf, size_t length, uint64_t *state)
{
    static const uint8_t telling[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    const uint64_t count = next_number(state) % 9;

    for (uint64_t i = 0; i < count; i++) {
        const size_t at = (size_t)(next_number(state) % length);
        const uint64_t choice = next_number(state);

        buf[at] = choice % 2 ? telling[choice / 2 % COUNT_OF(telling)]
                             : (uint8_t)(choice >> 8);
    }
}

#endif
