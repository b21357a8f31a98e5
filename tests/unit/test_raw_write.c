/* SPDX-License-Identifier: MIT */
/*
 * Without these, a guest could write the header of an image to its raw disk,
 * and have the files that it names there opened by the next who guesses; and a
 * power cut could tear the last sector of a disk whose file ends inside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "store/recorder.h"

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

/* ---- A file of odd length ---- */

#define ODD_BYTES 700
#define SECTOR    512

/* The last sector is old or new, and no mixture. */
static int visit_odd(void *user, const struct crash_point *point,
                     struct byre_store *const *stores, struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    uint8_t old[SECTOR] = { 0 }, new[SECTOR], got[SECTOR];
    struct byre *disk = NULL;
    int r;

    (void)user;
    (void)point;
    memset(old, 1, ODD_BYTES - SECTOR);
    memset(new, 2, sizeof(new));
    opts.format = "raw";
    r = byre_open_store(stores[0], NULL, &opts, &disk, err);
    if (r < 0)
        return r;
    r = byre_read(disk, SECTOR, got, sizeof(got), err);
    byre_close(disk, NULL);
    if (r == BYRE_OK && memcmp(got, old, SECTOR) != 0 &&
        memcmp(got, new, SECTOR) != 0)
        return BYRE_E_CORRUPT;
    return r;
}

static void test_an_odd_file_is_not_torn(void **state)
{
    const struct crash_limits limits = { .states_per_cut = 64 };
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    uint8_t start[ODD_BYTES], new[SECTOR];
    struct byre_store *store = NULL;
    struct record_log *log = NULL;
    struct byre *disk = NULL;

    (void)state;
    memset(start, 1, sizeof(start));
    memset(new, 2, sizeof(new));
    assert_int_equal(record_log_new(&log, NULL), BYRE_OK);
    assert_int_equal(
        recorder_store_new(log, start, sizeof(start), &store, NULL), BYRE_OK);
    opts.flags = BYRE_OPEN_WRITE;
    opts.format = "raw";
    assert_int_equal(byre_open_store(store, NULL, &opts, &disk, NULL), BYRE_OK);

    /* Where it does not get longer, it stays as long as it was. */
    assert_int_equal(byre_write(disk, 0, start, SECTOR, 0, NULL), BYRE_OK);
    assert_int_equal(record_log_length(log), 1);
    assert_int_equal(byre_write(disk, SECTOR, new, SECTOR, 0, NULL), BYRE_OK);
    close_disk(disk, store);
    assert_int_equal(crash_replay(log, &limits, 1, visit_odd, NULL, NULL, NULL),
                     BYRE_OK);
    record_log_free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_guessed_disk_stays_raw),
        cmocka_unit_test(test_a_named_disk_takes_all_bytes),
        cmocka_unit_test(test_an_odd_file_is_not_torn),
    };

    return cmocka_run_group_tests_name("raw_write", tests, NULL, NULL);
}
