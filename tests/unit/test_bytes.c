/* SPDX-License-Identifier: MIT */
/*
 * Without this test a number could be stored in the machine's byte order, and
 * sums of numbers that an image chose could wrap around a limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/bytes.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Bytes ---- */

static void numbers_are_big_endian(void **state)
{
    static const uint8_t bytes[8] = { 0x81, 0x23, 0x45, 0x67,
                                      0x89, 0xab, 0xcd, 0xef };

    (void)state;
    assert_int_equal(be16_get(bytes), 0x8123);
    assert_int_equal(be16_get(bytes + 6), 0xcdef);
    assert_int_equal(be32_get(bytes), 0x81234567);
    assert_int_equal(be32_get(bytes + 3), 0x6789abcd);
    assert_int_equal(be64_get(bytes), UINT64_C(0x8123456789abcdef));
}

/* A put stores what it should and leaves the bytes around it alone. */
static void puts_store_their_bytes(void **state)
{
    uint8_t buf[12];

    (void)state;
    memset(buf, 0x5a, sizeof(buf));
    be16_put(buf + 1, 0x8123);
    assert_memory_equal(buf, "\x5a\x81\x23\x5a", 4);

    memset(buf, 0x5a, sizeof(buf));
    be32_put(buf + 1, 0x81234567);
    assert_memory_equal(buf, "\x5a\x81\x23\x45\x67\x5a", 6);

    memset(buf, 0x5a, sizeof(buf));
    be64_put(buf + 1, UINT64_C(0x8123456789abcdef));
    assert_memory_equal(buf, "\x5a\x81\x23\x45\x67\x89\xab\xcd\xef\x5a", 10);

    memset(buf, 0x5a, sizeof(buf));
    le32_put(buf + 1, 0x81234567);
    assert_memory_equal(buf, "\x5a\x67\x45\x23\x81\x5a", 6);

    memset(buf, 0x5a, sizeof(buf));
    le64_put(buf + 1, UINT64_C(0x8123456789abcdef));
    assert_memory_equal(buf, "\x5a\xef\xcd\xab\x89\x67\x45\x23\x81\x5a", 10);
}

static void puts_and_gets_agree(void **state)
{
    static const uint64_t values[] = {
        0,          1,
        0x7f,       0x80,
        0xff,       0x100,
        0x7fff,     0x8000,
        0xffff,     0x7fffffff,
        0x80000000, UINT32_MAX,
        INT64_MAX,  UINT64_C(1) << 63,
        UINT64_MAX,
    };
    uint8_t buf[8];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        be16_put(buf, (uint16_t)values[i]);
        assert_int_equal(be16_get(buf), (uint16_t)values[i]);
        be32_put(buf, (uint32_t)values[i]);
        assert_int_equal(be32_get(buf), (uint32_t)values[i]);
        be64_put(buf, values[i]);
        assert_int_equal(be64_get(buf), values[i]);
    }
}

/* ---- Arithmetic ---- */

/* clang-format off */
static const struct {
    uint64_t a;
    uint64_t b;
    bool add_overflows;
    bool mul_overflows;
} overflow_cases[] = {
    { 0, 0, false, false },
    { 0, UINT64_MAX, false, false },
    { 1, UINT64_MAX, true, false },
    { 2, UINT64_MAX, true, true },
    { 1, UINT64_MAX - 1, false, false },
    { UINT64_MAX, UINT64_MAX, true, true },
    { UINT64_C(1) << 63, UINT64_C(1) << 63, true, true },
    { UINT64_C(1) << 32, UINT32_MAX, false, false },
    { UINT64_C(1) << 32, UINT64_C(1) << 32, false, true },
    { UINT64_MAX / 3, 3, false, false },
    { UINT64_MAX / 3 + 1, 3, false, true },
};
/* clang-format on */

static void check_overflow(uint64_t a, uint64_t b, bool add, bool mul)
{
    uint64_t sum = 77;
    uint64_t product = 77;

    assert_int_equal(add_overflow(a, b, &sum), add);
    assert_int_equal(sum, add ? 77 : a + b);
    assert_int_equal(mul_overflow(a, b, &product), mul);
    assert_int_equal(product, mul ? 77 : a * b);
}

static void overflow_is_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(overflow_cases); i++) {
        check_overflow(overflow_cases[i].a, overflow_cases[i].b,
                       overflow_cases[i].add_overflows,
                       overflow_cases[i].mul_overflows);
        check_overflow(overflow_cases[i].b, overflow_cases[i].a,
                       overflow_cases[i].add_overflows,
                       overflow_cases[i].mul_overflows);
    }
}

static void division_rounds_up_without_wrapping(void **state)
{
    static const struct {
        uint64_t a;
        uint64_t b;
        uint64_t want;
    } cases[] = {
        { 0, 512, 0 },
        { 1, 512, 1 },
        { 512, 512, 1 },
        { 513, 512, 2 },
        { UINT64_MAX, 1, UINT64_MAX },
        { UINT64_MAX, 2, UINT64_C(1) << 63 },
        { UINT64_MAX, UINT64_MAX, 1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(div_round_up(cases[i].a, cases[i].b), cases[i].want);
}

static void alignment_goes_both_ways(void **state)
{
    static const struct {
        uint64_t a;
        uint64_t alignment;
        uint64_t down;
        uint64_t up;
    } cases[] = {
        { 0, 512, 0, 0 },
        { 1, 512, 0, 512 },
        { 511, 512, 0, 512 },
        { 512, 512, 512, 512 },
        { 513, 512, 512, 1024 },
        { 7, 1, 7, 7 },
        { UINT64_MAX - 511, 512, UINT64_MAX - 511, UINT64_MAX - 511 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(align_down(cases[i].a, cases[i].alignment),
                         cases[i].down);
        assert_int_equal(align_up(cases[i].a, cases[i].alignment), cases[i].up);
        assert_int_equal(is_aligned(cases[i].a, cases[i].alignment),
                         cases[i].down == cases[i].a);
    }
}

static void ranges_are_bounded_without_wrapping(void **state)
{
    static const struct {
        uint64_t offset;
        uint64_t length;
        uint64_t size;
        bool want;
    } cases[] = {
        { 0, 0, 0, true },
        { 0, 1, 0, false },
        { 1, 0, 0, false },
        { 0, 10, 10, true },
        { 4, 6, 10, true },
        { 4, 7, 10, false },
        { 10, 0, 10, true },
        { 11, 0, 10, false },
        { 1, UINT64_MAX, 10, false },
        { UINT64_MAX, 1, 10, false },
        { UINT64_MAX, 1, UINT64_MAX, false },
        { UINT64_MAX - 1, 1, UINT64_MAX, true },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(
            range_within(cases[i].offset, cases[i].length, cases[i].size),
            cases[i].want);
}

static void the_smaller_and_the_larger(void **state)
{
    (void)state;
    assert_int_equal(min_u64(1, 2), 1);
    assert_int_equal(min_u64(UINT64_MAX, 2), 2);
    assert_int_equal(max_u64(1, 2), 2);
    assert_int_equal(max_u64(UINT64_MAX, 2), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_big_endian),
        cmocka_unit_test(puts_store_their_bytes),
        cmocka_unit_test(puts_and_gets_agree),
        cmocka_unit_test(overflow_is_noticed),
        cmocka_unit_test(division_rounds_up_without_wrapping),
        cmocka_unit_test(alignment_goes_both_ways),
        cmocka_unit_test(ranges_are_bounded_without_wrapping),
        cmocka_unit_test(the_smaller_and_the_larger),
    };

    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
