/* SPDX-License-Identifier: MIT */
/*
 * Without these, a guest could write the header of an image to its raw disk,
 * and have the files that it names there opened by the next who guesses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"

#define DISK_BYTES 4096

static const uint8_t header[8] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };

static struct byre *open_disk(struct byre_store **ret_store, const char *format)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    static const uint8_t zeroes[DISK_BYTES];
    struct byre *disk = NULL;

    opts.flags = BYRE_OPEN_WRITE;
    opts.format = format;
    assert_int_equal(
        byre_store_new_memory(zeroes, sizeof(zeroes), ret_store, NULL),
        BYRE_OK);
    assert_int_equal(byre_open_store(*ret_store, NULL, &opts, &disk, NULL),
                     BYRE_OK);
    return disk;
}

static void close_disk(struct byre *disk, struct byre_store *store)
{
    assert_int_equal(byre_close(disk, NULL), BYRE_OK);
    byre_store_unref(store);
}

static void test_a_guessed_disk_stays_raw(void **state)
{
    struct byre_store *store = NULL;
    struct byre *disk = open_disk(&store, NULL);
    uint8_t start[8];

    (void)state;
    assert_int_equal(byre_write(disk, 0, header, sizeof(header), 0, NULL),
                     BYRE_E_POLICY);
    assert_int_equal(byre_read(disk, 0, start, sizeof(start), NULL), BYRE_OK);
    assert_memory_equal(start, "\0\0\0\0\0\0\0", 8);

    /* Nor in two halves; and elsewhere it is bytes like any others. */
    assert_int_equal(byre_write(disk, 4, header + 4, 4, 0, NULL), BYRE_OK);
    assert_int_equal(byre_write(disk, 0, header, 4, 0, NULL), BYRE_E_POLICY);
    assert_int_equal(byre_write(disk, 8, header, sizeof(header), 0, NULL),
                     BYRE_OK);
    close_disk(disk, store);
}

static void test_a_named_disk_takes_all_bytes(void **state)
{
    struct byre_store *store = NULL;
    struct byre *disk = open_disk(&store, "raw");

    (void)state;
    assert_int_equal(byre_write(disk, 0, header, sizeof(header), 0, NULL),
                     BYRE_OK);
    close_disk(disk, store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_guessed_disk_stays_raw),
        cmocka_unit_test(test_a_named_disk_takes_all_bytes),
    };

    return cmocka_run_group_tests_name("raw_write", tests, NULL, NULL);
}
