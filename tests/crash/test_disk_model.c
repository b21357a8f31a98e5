/* SPDX-License-Identifier: MIT */
/*
 * Without this test the model could allow everything, and every crash state
 * would pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_model.h"
#include "memory.h"

#define SECTORS 4
#define DISK    (SECTORS * MODEL_SECTOR)

static void write_sector(struct disk_model *model, uint64_t sector, int byte,
                         uint64_t now)
{
    uint8_t bytes[MODEL_SECTOR];

    memset(bytes, byte, sizeof(bytes));
    disk_model_begin(model, sector * MODEL_SECTOR, bytes, MODEL_SECTOR, now);
}

static void write_well(struct disk_model *model, uint64_t sector, int byte,
                       uint64_t now)
{
    write_sector(model, sector, byte, now);
    disk_model_succeed(model, sector * MODEL_SECTOR, MODEL_SECTOR);
}

/* Which of the bytes a sector may be full of at a cut. */
static void check(const struct disk_model *model, uint64_t cut, uint64_t sector,
                  const char *allowed, const char *forbidden)
{
    uint8_t bytes[MODEL_SECTOR];

    for (const char *c = allowed; *c != '\0'; c++) {
        memset(bytes, *c == '0' ? 0 : *c, sizeof(bytes));
        assert_true(disk_model_allows(model, cut, sector, bytes));
    }
    for (const char *c = forbidden; *c != '\0'; c++) {
        memset(bytes, *c == '0' ? 0 : *c, sizeof(bytes));
        assert_false(disk_model_allows(model, cut, sector, bytes));
    }
}

static void test_flushes_forget(void **state)
{
    struct disk_model model;

    (void)state;
    disk_model_init(&model, DISK, DISK);
    write_well(&model, 1, 'a', 10);
    write_well(&model, 1, 'b', 20);
    disk_model_promise(&model, 30);
    write_well(&model, 1, 'c', 40);

    check(&model, 10, 1, "0", "abc");
    check(&model, 11, 1, "0a", "bc");
    check(&model, 29, 1, "0ab", "c");
    check(&model, 30, 1, "b", "0ac");
    check(&model, 40, 1, "b", "0ac");
    check(&model, 41, 1, "bc", "0a");
    check(&model, 99, 0, "0", "abc");
    disk_model_done(&model);
}

static void test_failed_writes_are_possible(void **state)
{
    struct disk_model model;

    (void)state;
    disk_model_init(&model, DISK, DISK);
    write_well(&model, 0, 'a', 10);
    write_sector(&model, 0, 'b', 20);
    disk_model_promise(&model, 30);
    check(&model, 99, 0, "ab", "0");
    assert_true(disk_model_allows_now(&model, 0, disk_model_newest(&model, 0)));
    write_well(&model, 0, 'c', 40);
    disk_model_promise(&model, 50);
    check(&model, 99, 0, "c", "ab0");
    disk_model_done(&model);
}

/* Two writes that share a sector: either, both or none of them. */
static void test_parts_of_sectors_mix(void **state)
{
    struct disk_model model;
    uint8_t bytes[MODEL_SECTOR] = { 0 };

    (void)state;
    disk_model_init(&model, DISK, DISK);
    disk_model_begin(&model, 0, (const uint8_t *)"aaaa", 4, 1);
    disk_model_succeed(&model, 0, 4);
    disk_model_begin(&model, 4, (const uint8_t *)"bbbb", 4, 2);
    disk_model_succeed(&model, 4, 4);

    memcpy(bytes, "\0\0\0\0bbbb", 8);
    assert_true(disk_model_allows(&model, 9, 0, bytes));
    memcpy(bytes, "aaaabbbb", 8);
    assert_true(disk_model_allows(&model, 9, 0, bytes));
    memcpy(bytes, "aaaabbbc", 8);
    assert_false(disk_model_allows(&model, 9, 0, bytes));
    disk_model_promise(&model, 9);
    memcpy(bytes, "\0\0\0\0bbbb", 8);
    assert_false(disk_model_allows(&model, 9, 0, bytes));
    disk_model_done(&model);
}

/* One write that covers its sectors does not mix with the one before. */
static void test_whole_sectors_do_not_mix(void **state)
{
    struct disk_model model;
    uint8_t bytes[MODEL_SECTOR];

    (void)state;
    disk_model_init(&model, DISK, DISK);
    write_well(&model, 0, 'a', 1);
    memset(bytes, 'a', sizeof(bytes));
    bytes[100] = 0;
    assert_false(disk_model_allows(&model, 9, 0, bytes));
    disk_model_done(&model);
}

/* A write that is promised alone promises nothing of the rest of its sector. */
static void test_promise_of_a_part(void **state)
{
    struct disk_model model;

    (void)state;
    disk_model_init(&model, DISK, DISK);
    write_well(&model, 0, 'a', 1);
    disk_model_begin(&model, 0, (const uint8_t *)"b", 1, 2);
    disk_model_succeed(&model, 0, 1);
    disk_model_promise_range(&model, 0, 1, 3);
    check(&model, 9, 0, "0a", "b");

    write_well(&model, 1, 'c', 4);
    disk_model_promise_range(&model, MODEL_SECTOR, MODEL_SECTOR, 5);
    check(&model, 9, 1, "c", "0");
    check(&model, 9, 0, "0a", "c");
    disk_model_done(&model);
}

static void test_sizes(void **state)
{
    struct disk_model model;

    (void)state;
    disk_model_init(&model, DISK, 2 * DISK);
    disk_model_begin_size(&model, 2 * DISK, 10);
    disk_model_succeed_size(&model, 20);
    assert_true(disk_model_allows_size(&model, 10, DISK));
    assert_false(disk_model_allows_size(&model, 10, 2 * DISK));
    assert_true(disk_model_allows_size(&model, 15, DISK));
    assert_true(disk_model_allows_size(&model, 15, 2 * DISK));
    assert_false(disk_model_allows_size(&model, 20, DISK));
    assert_false(disk_model_allows_size(&model, 15, 3 * DISK));
    assert_int_equal(disk_model_bytes(&model), 2 * DISK);
    disk_model_done(&model);
}

/* No two writes write the same, or a stale sector could not be told. */
static void test_patterns_differ(void **state)
{
    uint8_t one[2 * MODEL_SECTOR], other[2 * MODEL_SECTOR];

    (void)state;
    disk_pattern(1, 0, one, sizeof(one));
    disk_pattern(2, 0, other, sizeof(other));
    assert_memory_not_equal(one, other, MODEL_SECTOR);
    assert_memory_not_equal(one, one + MODEL_SECTOR, MODEL_SECTOR);
    disk_pattern(1, 3, other, 900);
    assert_memory_equal(one + 3, other, 900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flushes_forget),
        cmocka_unit_test(test_failed_writes_are_possible),
        cmocka_unit_test(test_parts_of_sectors_mix),
        cmocka_unit_test(test_whole_sectors_do_not_mix),
        cmocka_unit_test(test_promise_of_a_part),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_patterns_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
