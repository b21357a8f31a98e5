/* SPDX-License-Identifier: MIT */
/*
 * Without these, the guard before every write could forget a structure that is
 * cut, split or joined, and data would be written over it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/range_set.h"

#define UNITS 64

static void print_set(const struct range_set *set, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < set->count; i++)
        used += (size_t)snprintf(
            text + used, size - used, "%s%llu-%llu:%u", i > 0 ? " " : "",
            (unsigned long long)set->ranges[i].start,
            (unsigned long long)set->ranges[i].end, set->ranges[i].kind);
}

static void test_adding_joins_one_kind(void **state)
{
    struct range_set set = { 0 };
    char text[256];

    (void)state;
    assert_int_equal(range_set_add(&set, 10, 5, 1, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 20, 5, 1, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 25, 5, 2, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 15, 5, 1, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 0, 3, 2, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 7, 3, 1, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 50, 0, 1, NULL), BYRE_OK);
    print_set(&set, text, sizeof(text));
    assert_string_equal(text, "0-3:2 7-25:1 25-30:2");
    range_set_done(&set);
}

static void test_removing_cuts_and_splits(void **state)
{
    struct range_set set = { 0 };
    char text[256];

    (void)state;
    assert_int_equal(range_set_add(&set, 0, 30, 1, NULL), BYRE_OK);
    assert_int_equal(range_set_add(&set, 30, 10, 2, NULL), BYRE_OK);
    assert_int_equal(range_set_remove(&set, 10, 5, NULL), BYRE_OK);
    print_set(&set, text, sizeof(text));
    assert_string_equal(text, "0-10:1 15-30:1 30-40:2");
    assert_int_equal(range_set_remove(&set, 8, 25, NULL), BYRE_OK);
    print_set(&set, text, sizeof(text));
    assert_string_equal(text, "0-8:1 33-40:2");
    assert_int_equal(range_set_remove(&set, 8, 25, NULL), BYRE_OK);
    assert_int_equal(range_set_remove(&set, 0, 100, NULL), BYRE_OK);
    assert_int_equal(set.count, 0);
    range_set_done(&set);
}

/* ---- Against one kind a unit ---- */

static void check_against(const struct range_set *set, const uint8_t *kinds)
{
    for (uint64_t start = 0; start < UNITS; start++) {
        for (uint64_t length = 0; start + length <= UNITS; length++) {
            const struct range *range = range_set_find(set, start, length);
            uint64_t first = start;

            while (first < start + length && kinds[first] == 0)
                first++;
            assert_int_equal(range != NULL, first < start + length);
            if (range == NULL)
                continue;
            assert_int_equal(range->kind, kinds[first]);
            assert_true(range->start <= first && first < range->end);
            assert_true(first == start || range->start == first);
        }
    }
    for (size_t i = 1; i < set->count; i++)
        assert_true(set->ranges[i - 1].end < set->ranges[i].start ||
                    set->ranges[i - 1].kind != set->ranges[i].kind);
}

static void test_random_changes_match_a_model(void **state)
{
    struct range_set set = { 0 };
    uint8_t kinds[UNITS] = { 0 };

    (void)state;
    srand(1);
    for (int i = 0; i < 600; i++) {
        const uint64_t start = (uint64_t)rand() % UNITS;
        const uint64_t length = (uint64_t)rand() % (UNITS - start) % 12;
        const unsigned kind = 1 + (unsigned)rand() % 2;

        if (rand() % 3 == 0) {
            assert_int_equal(range_set_remove(&set, start, length, NULL),
                             BYRE_OK);
            memset(kinds + start, 0, length);
        } else if (range_set_find(&set, start, length) == NULL) {
            assert_int_equal(range_set_add(&set, start, length, kind, NULL),
                             BYRE_OK);
            memset(kinds + start, (int)kind, length);
        }
        check_against(&set, kinds);
    }
    range_set_done(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adding_joins_one_kind),
        cmocka_unit_test(test_removing_cuts_and_splits),
        cmocka_unit_test(test_random_changes_match_a_model),
    };

    return cmocka_run_group_tests_name("range_set", tests, NULL, NULL);
}
