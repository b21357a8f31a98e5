/* SPDX-License-Identifier: MIT */
/*
 * Without these tests keys could come out of a source that repeats or stops
 * short, tests with a seed could differ from run to run, and passphrases be
 * taken that other programs refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/random.h"
#include "crypto/utf8.h"

#define UNTOUCHED 0xa5

/* The numbers that splitmix64 is known to give from this seed. */
static void test_seeded_random(void **state)
{
    static const uint64_t want[] = { UINT64_C(6457827717110365317),
                                     UINT64_C(3203168211198807973),
                                     UINT64_C(9817491932198370423) };
    struct random_source random;
    uint8_t bytes[20];

    (void)state;
    random_source_init(&random, 1234567);
    memset(bytes, UNTOUCHED, sizeof(bytes));
    assert_int_equal(random_source_fill(&random, bytes, 19, NULL), BYRE_OK);
    for (size_t i = 0; i < 19; i++)
        assert_int_equal(bytes[i], (want[i / 8] >> i % 8 * 8) & 0xff);
    assert_int_equal(bytes[19], UNTOUCHED);
}

static void test_system_random(void **state)
{
    static uint8_t a[100000], b[100000];
    struct random_source random;
    struct random_source other;
    size_t equal = 0;

    (void)state;
    random_source_init(&random, 0);
    random_source_init(&other, 0);
    assert_int_equal(random_source_fill(&random, a, sizeof(a), NULL), BYRE_OK);
    assert_int_equal(random_source_fill(&other, b, sizeof(b), NULL), BYRE_OK);
    for (size_t i = 0; i < sizeof(a); i++)
        equal += a[i] == b[i];
    assert_in_range(equal, 200, 600); /* 391, give or take ten deviations */
}

static void test_utf8(void **state)
{
    /* clang-format off */
    static const struct {
        const char *bytes;
        size_t length;
        bool is_text;
    } cases[] = {
        { "", 0, true },
        { "a\n\x01\x7f", 4, true },
        { "\xc2\x80\xdf\xbf", 4, true },
        { "\xe0\xa0\x80\xec\xbf\xbf\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 15, true },
        { "\xf0\x90\x80\x80\xf3\xbf\xbf\xbf\xf4\x8f\xbf\xbf", 12, true },
        { "a\0b", 3, false },
        { "\x80", 1, false },
        { "\xbf", 1, false },
        { "\xc0\x80", 2, false },
        { "\xc1\xbf", 2, false },
        { "\xc2", 1, false },
        { "\xc2" "a", 2, false },
        { "\xc2\xc0", 2, false },
        { "\xe0\x9f\xbf", 3, false },
        { "\xe1\x80", 2, false },
        { "\xe1\x80" "a", 3, false },
        { "\xed\xa0\x80", 3, false },
        { "\xed\xbf\xbf", 3, false },
        { "\xf0\x8f\xbf\xbf", 4, false },
        { "\xf1\x80\x80", 3, false },
        { "\xf1\x80\x80" "a", 4, false },
        { "\xf4\x90\x80\x80", 4, false },
        { "\xf5\x80\x80\x80", 4, false },
        { "\xff", 1, false },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        /* A copy of exactly its length, so that over-reads are seen. */
        uint8_t *bytes = malloc(cases[i].length + (cases[i].length == 0));

        assert_non_null(bytes);
        memcpy(bytes, cases[i].bytes, cases[i].length);
        if (utf8_is_text(bytes, cases[i].length) != cases[i].is_text)
            fail_msg("case %zu", i);
        free(bytes);
    }
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeded_random),
        cmocka_unit_test(test_system_random),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
