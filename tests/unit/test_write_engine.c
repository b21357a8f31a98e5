/* SPDX-License-Identifier: MIT */
/*
 * Without these, an image whose tables lie could have its own metadata freed
 * and punched, a resize that failed could break the next one, and a disk that
 * cannot be flushed any more could stop being readable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "byre.h"
#include "new_image.h"
#include "store/fault.h"
#include "store/store.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

/* Header fields. */
#define AT_L1_OFFSET    40
#define AT_INCOMPATIBLE 72
#define CORRUPT_BIT     UINT64_C(2)

#define COPIED (UINT64_C(1) << 63)

static uint8_t pattern[MIB];

/* ---- Images in memory ---- */

static int try_open(struct byre_store *store, struct byre **ret_img,
                    struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;

    opts.flags = BYRE_OPEN_WRITE;
    opts.format = "qcow2";
    opts.table_cache_bytes = 1;
    return byre_open_store(store, NULL, &opts, ret_img, err);
}

static struct byre *open_image(struct byre_store *store)
{
    struct byre *img = NULL;
    struct byre_error err = { 0 };

    if (try_open(store, &img, &err) < 0)
        fail_msg("%s", err.message);
    return img;
}

static uint64_t word_at(struct byre_store *store, uint64_t offset)
{
    uint8_t buf[8];

    assert_int_equal(store_read(store, offset, buf, sizeof(buf), NULL), 0);
    return be64_get(buf);
}

static void put_word(struct byre_store *store, uint64_t offset, uint64_t word)
{
    uint8_t buf[8];

    be64_put(buf, word);
    assert_int_equal(store_write(store, offset, buf, sizeof(buf), NULL), 0);
}

static uint64_t l1_of(struct byre_store *store)
{
    return word_at(store, AT_L1_OFFSET);
}

static void flush_often(struct byre *img)
{
    for (int i = 0; i < 4; i++)
        byre_flush(img, NULL);
}

/* ---- Tables that lie ---- */

/* An L1 entry of flags alone names no table, least of all the header. */
static void an_empty_l1_entry_is_no_table(void **state)
{
    struct byre_store *store = new_image(2 * MIB, 4096);
    struct byre *img;

    (void)state;
    assert_int_equal(word_at(store, l1_of(store)), 0);
    put_word(store, l1_of(store), COPIED);
    img = open_image(store);
    assert_int_equal(
        byre_resize(img, 0, BYRE_RESIZE_SHRINK, BYRE_PREALLOCATION_OFF, NULL),
        0);
    flush_often(img);
    assert_int_equal(byre_close(img, NULL), 0);
    assert_int_equal(word_at(store, 0) >> 32, 0x514649fb);
    assert_int_equal(byre_close(open_image(store), NULL), 0);
    byre_store_unref(store);
}

/* The entry of the disk's first cluster, made to point to `host_offset`. */
static struct byre_store *new_lying_image(uint64_t host_offset)
{
    struct byre_store *store = new_image(2 * MIB, 4096);
    struct byre *img = open_image(store);
    uint64_t l2_offset;

    assert_int_equal(byre_write(img, 0, pattern, 4096, 0, NULL), 0);
    assert_int_equal(byre_close(img, NULL), 0);
    l2_offset = word_at(store, l1_of(store)) & ~COPIED;
    put_word(store, l2_offset, host_offset | COPIED);
    return store;
}

static void check_marked_corrupt(struct byre_store *store)
{
    struct byre *img;

    assert_int_equal(word_at(store, AT_INCOMPATIBLE) & CORRUPT_BIT,
                     CORRUPT_BIT);
    assert_int_equal(try_open(store, &img, NULL), BYRE_E_CORRUPT);
}

enum change { DISCARD, ZERO, RESIZE };

static int change_disk(struct byre *img, enum change change)
{
    switch (change) {
    case DISCARD:
        return byre_discard(img, 0, 4096, 0, NULL);
    case ZERO:
        return byre_zero(img, 0, 4096, BYRE_WRITE_MAY_UNMAP, NULL);
    case RESIZE:
        return byre_resize(img, 0, BYRE_RESIZE_SHRINK, BYRE_PREALLOCATION_OFF,
                           NULL);
    }
    return 0;
}

/* The L1 table is not to be freed because an entry points to it. */
static void metadata_is_never_released(void **state)
{
    (void)state;
    for (int change = DISCARD; change <= RESIZE; change++) {
        struct byre_store *store = new_image(2 * MIB, 4096);
        const uint64_t l1_offset = l1_of(store);
        struct byre *img;
        uint64_t entry;

        byre_store_unref(store);
        store = new_lying_image(l1_offset);
        assert_int_equal(l1_of(store), l1_offset);
        entry = word_at(store, l1_offset);
        assert_int_not_equal(entry, 0);

        img = open_image(store);
        change_disk(img, (enum change)change);
        flush_often(img);
        assert_true(byre_close(img, NULL) < 0);
        assert_int_equal(word_at(store, l1_offset), entry);
        check_marked_corrupt(store);
        byre_store_unref(store);
    }
}

/* Nor is one that a compressed cluster claims to reach into. */
static void a_stream_does_not_release_what_follows(void **state)
{
    struct byre_store *store = new_image(8 * MIB, 4096);
    struct byre *img = open_image(store);
    uint64_t data_offset, l2_offset, next, entry;

    (void)state;
    assert_int_equal(byre_write(img, 0, pattern, 4096, 0, NULL), 0);
    assert_int_equal(byre_write(img, 4 * MIB, pattern, 4096, 0, NULL), 0);
    assert_int_equal(byre_close(img, NULL), 0);
    l2_offset = word_at(store, l1_of(store)) & ~COPIED;
    next = word_at(store, l1_of(store) + 16) & ~COPIED;
    data_offset = word_at(store, l2_offset) & ~COPIED;
    assert_int_equal(next, data_offset + 4096);
    entry = word_at(store, next);
    assert_int_not_equal(entry, 0);
    put_word(store, l2_offset,
             UINT64_C(1) << 62 | UINT64_C(1) << 58 | (next - 512));

    img = open_image(store);
    byre_discard(img, 0, 4096, 0, NULL);
    flush_often(img);
    assert_true(byre_close(img, NULL) < 0);
    assert_int_equal(word_at(store, next), entry);
    check_marked_corrupt(store);
    byre_store_unref(store);
}

/* A table behind the end of the file would be made there. */
static void a_table_behind_the_file_is_refused(void **state)
{
    struct byre_store *store = new_image(2 * MIB, 4096);
    struct byre *img;

    (void)state;
    put_word(store, l1_of(store), (GIB * 1024) | COPIED);
    assert_int_equal(try_open(store, &img, NULL), BYRE_E_CORRUPT);
    byre_store_unref(store);
}

/* Opening takes no time that grows with the square of the tables. */
static void tables_in_disorder_open_quickly(void **state)
{
    const uint64_t entries = UINT64_C(1) << 19; /* 512-byte clusters */
    const uint64_t range = 512 * 64;
    struct byre_store *store = new_image(entries * range, 512);
    const uint64_t l1_offset = l1_of(store);
    uint8_t *l1 = malloc((size_t)entries * 8);
    uint64_t end, i;
    clock_t start;
    struct byre *img = NULL;

    (void)state;
    assert_non_null(l1);
    assert_int_equal(store_get_size(store, &end, NULL), 0);
    end = (end + 511) / 512 * 512;
    for (i = 0; i < entries; i++)
        be64_put(l1 + i * 8, (end + (entries - i) * 1024) | COPIED);
    assert_int_equal(
        store_write(store, l1_offset, l1, (size_t)entries * 8, NULL), 0);
    assert_int_equal(store_resize(store, end + (entries + 1) * 1024, NULL), 0);
    free(l1);

    start = clock();
    if (try_open(store, &img, NULL) == 0)
        byre_close(img, NULL);
    assert_true((clock() - start) / CLOCKS_PER_SEC < 5);
    byre_store_unref(store);
}

/* ---- Resizing ---- */

/* What a failed resize left in memory is no measure of the next. */
static void a_failed_resize_is_forgotten(void **state)
{
    struct byre_store *base = new_image(MIB, 4096), *store;
    struct faults faults;
    struct byre *img;

    (void)state;
    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), 0);
    img = open_image(store);
    faults_set(&faults, FAULT_WRITE, &(struct fault){ .nth = 1 });
    assert_int_equal(byre_resize(img, 4 * TIB, 0, BYRE_PREALLOCATION_OFF, NULL),
                     BYRE_E_IO);
    assert_int_equal(byre_resize(img, 8 * MIB, 0, BYRE_PREALLOCATION_OFF, NULL),
                     0);
    assert_int_equal(byre_write(img, 7 * MIB, pattern, 4096, 0, NULL), 0);
    assert_int_equal(byre_close(img, NULL), 0);
    byre_store_unref(store);
    byre_store_unref(base);
}

/* Only what a longer backing file shows needs to be covered. */
static void growing_over_a_short_backing_file_is_cheap(void **state)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *lower = new_store(), *store = new_store();
    struct byre *backing, *img;
    uint64_t size_bytes;
    uint8_t byte = 1;

    (void)state;
    assert_int_equal(store_write(lower, 0, pattern, sizeof(pattern), NULL), 0);
    opts.format = "raw";
    assert_int_equal(byre_open_store(lower, NULL, &opts, &backing, NULL), 0);
    create.virtual_size_bytes = MIB / 2;
    create.backing_name = "below";
    create.backing_format = "raw";
    create.flags = BYRE_CREATE_BACKING_UNCHECKED;
    assert_int_equal(byre_create_store(store, &create, NULL), 0);
    opts.format = "qcow2";
    opts.flags = BYRE_OPEN_WRITE;
    opts.backing = backing;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, NULL), 0);

    assert_int_equal(byre_resize(img, TIB, 0, BYRE_PREALLOCATION_OFF, NULL), 0);
    assert_int_equal(byre_read(img, MIB - 1, &byte, 1, NULL), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(byre_read(img, MIB / 2, &byte, 1, NULL), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(byre_read(img, MIB / 2 - 1, &byte, 1, NULL), 0);
    assert_int_equal(byte, pattern[MIB / 2 - 1]);
    assert_int_equal(byre_close(img, NULL), 0);
    assert_int_equal(store_get_size(store, &size_bytes, NULL), 0);
    assert_true(size_bytes < 2 * MIB);
    byre_close(backing, NULL);
    byre_store_unref(store);
    byre_store_unref(lower);
}

/* A data file that is longer than the disk was does not show what it held. */
static void growing_over_a_long_data_file_reads_zero(void **state)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *data = new_store(), *store = new_store();
    struct byre *img;
    uint8_t byte = 1;

    (void)state;
    create.virtual_size_bytes = MIB;
    create.data_file = "data";
    create.data_store = data;
    create.flags = BYRE_CREATE_DATA_FILE_RAW;
    assert_int_equal(byre_create_store(store, &create, NULL), 0);
    assert_int_equal(store_write(data, MIB, pattern, sizeof(pattern), NULL), 0);
    opts.format = "qcow2";
    opts.flags = BYRE_OPEN_WRITE;
    opts.data_store = data;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, NULL), 0);
    assert_int_equal(byre_resize(img, 4 * MIB, 0, BYRE_PREALLOCATION_OFF, NULL),
                     0);
    assert_int_equal(byre_read(img, MIB + 4096, &byte, 1, NULL), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(store_read(data, 2 * MIB - 1, &byte, 1, NULL), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(byre_close(img, NULL), 0);
    byre_store_unref(store);
    byre_store_unref(data);
}

/* ---- Reads go on ---- */

/* All slices are changed, none can be written: the disk can still be read. */
static void reads_go_on_when_nothing_can_be_flushed(void **state)
{
    const uint64_t disk_bytes = 512 * MIB;
    struct byre_store *base = new_image(disk_bytes, 4096), *store;
    struct faults faults;
    struct byre *img;
    uint8_t byte;

    (void)state;
    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), 0);
    img = open_image(store);
    for (uint64_t at = 0; at < disk_bytes; at += 2 * MIB)
        assert_int_equal(byre_write(img, at, pattern, 4096, 0, NULL), 0);
    assert_int_equal(byre_flush(img, NULL), 0);

    faults_set(&faults, FAULT_FLUSH,
               &(struct fault){ .nth = 1, .flags = FAULT_PERSISTS });
    for (uint64_t at = 4096; at < disk_bytes; at += 2 * MIB)
        byre_write(img, at, pattern, 4096, 0, NULL);
    assert_true(byre_flush(img, NULL) < 0);
    for (uint64_t at = 0; at < disk_bytes; at += 2 * MIB) {
        assert_int_equal(byre_read(img, at + 1, &byte, 1, NULL), 0);
        assert_int_equal(byte, pattern[1]);
    }
    assert_true(byre_close(img, NULL) < 0);
    byre_store_unref(store);
    byre_store_unref(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_l1_entry_is_no_table),
        cmocka_unit_test(metadata_is_never_released),
        cmocka_unit_test(a_stream_does_not_release_what_follows),
        cmocka_unit_test(a_table_behind_the_file_is_refused),
        cmocka_unit_test(tables_in_disorder_open_quickly),
        cmocka_unit_test(a_failed_resize_is_forgotten),
        cmocka_unit_test(growing_over_a_short_backing_file_is_cheap),
        cmocka_unit_test(growing_over_a_long_data_file_reads_zero),
        cmocka_unit_test(reads_go_on_when_nothing_can_be_flushed),
    };

    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % 251 + 1);
    return cmocka_run_group_tests_name("write engine", tests, NULL, NULL);
}
