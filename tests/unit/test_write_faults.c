/* SPDX-License-Identifier: MIT */
/*
 * Without these, a failure that is over could cost what was flushed before or
 * after it, and a call that is refused could have changed something.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "byre.h"
#include "new_image.h"
#include "spy_store.h"
#include "store/fault.h"
#include "store/recorder.h"
#include "store/store.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* Header fields. */
#define AT_SIZE         24 /* and the L1 table */
#define AT_INCOMPATIBLE 72
#define AT_AUTOCLEAR    88
#define DIRTY_BIT       UINT64_C(1)
#define UNKNOWN_BITS    (UINT64_C(5) << 40)

static uint8_t pattern[MIB];
static const uint8_t zeroes[MIB];

/* ---- Images in memory ---- */

static struct byre *open_with(struct byre_store *store, struct byre_store *data,
                              uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre *img = NULL;
    struct byre_error err = { 0 };

    opts.flags = flags;
    opts.format = "qcow2";
    opts.data_store = data;
    if (byre_open_store(store, NULL, &opts, &img, &err) < 0)
        fail_msg("%s", err.message);
    return img;
}

static struct byre *open_image(struct byre_store *store)
{
    return open_with(store, NULL, BYRE_OPEN_WRITE);
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

/* All bytes of the store, to be freed. */
static uint8_t *bytes_of(struct byre_store *store, size_t *ret_length)
{
    uint64_t length;
    uint8_t *bytes;

    assert_int_equal(store_get_size(store, &length, NULL), 0);
    bytes = malloc((size_t)length + 1);
    assert_non_null(bytes);
    assert_int_equal(store_read(store, 0, bytes, (size_t)length, NULL), 0);
    *ret_length = (size_t)length;
    return bytes;
}

static struct byre_store *copy_of(struct byre_store *store)
{
    size_t length;
    uint8_t *bytes = bytes_of(store, &length);
    struct byre_store *copy;

    assert_int_equal(byre_store_new_memory(bytes, length, &copy, NULL), 0);
    free(bytes);
    return copy;
}

static void check_disk(struct byre *img, uint64_t offset, const uint8_t *bytes,
                       size_t length)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    assert_int_equal(byre_read(img, offset, buf, length, NULL), 0);
    assert_memory_equal(buf, bytes, length);
    free(buf);
}

/* ---- Failing writes ---- */

#define SMALL_DISK (2 * MIB)  /* of 512-byte clusters: one cluster of L1 */
#define L2_RANGE   (32 * KIB) /* what one of its L2 tables stands for */

static uint64_t size_of(struct byre *img)
{
    struct byre_info info = BYRE_INFO_INIT;

    assert_int_equal(byre_get_info(img, &info, NULL), 0);
    return info.virtual_size_bytes;
}

/* Writes a cluster of each second table, as far as the small disk goes. */
static bool write_tables(struct byre *img, uint64_t start)
{
    const uint64_t end = size_of(img);

    for (uint64_t at = start; at < end && at < SMALL_DISK; at += 2 * L2_RANGE) {
        const int r = byre_write(img, at, pattern + at / 512, 512, 0, NULL);

        assert_true(r == BYRE_OK || r == BYRE_E_STATE);
        if (r < 0)
            return false;
    }
    return byre_flush(img, NULL) == BYRE_OK;
}

static void check_tables(struct byre *img, uint64_t start)
{
    const uint64_t end = size_of(img);

    for (uint64_t at = start; at < end && at < SMALL_DISK; at += 2 * L2_RANGE)
        check_disk(img, at, pattern + at / 512, 512);
}

/* What was flushed is there, and is still when there is more. */
static void check_reopened(struct byre_store *store, bool has_more,
                           uint64_t more_bytes)
{
    struct byre *img = open_image(store);

    check_tables(img, 0);
    if (has_more) {
        assert_int_equal(size_of(img), more_bytes);
        check_tables(img, L2_RANGE);
    }
    assert_true(write_tables(img, L2_RANGE));
    assert_int_equal(byre_close(img, NULL), 0);
    img = open_with(store, NULL, 0);
    check_tables(img, 0);
    check_tables(img, L2_RANGE);
    assert_int_equal(byre_close(img, NULL), 0);
}

/*
 * Resizes; its write number `nth` arrives and is reported as failed.  What is
 * flushed before and after must be there when the image is opened again, and
 * be no other cluster's.  Returns whether there is such a write.
 */
static bool resize_with_landing_write(uint64_t size_bytes, uint64_t nth,
                                      unsigned *headers)
{
    struct byre_store *base = new_image(SMALL_DISK, 512), *store;
    struct faults faults;
    struct byre *img;
    uint8_t before[24], after[24];
    bool met, flushed;
    uint64_t now;

    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), 0);
    img = open_image(store);
    assert_true(write_tables(img, 0));
    assert_int_equal(store_read(base, AT_SIZE, before, 24, NULL), 0);
    faults_set(&faults, FAULT_WRITE,
               &(struct fault){ .nth = nth, .sectors_landed = UINT64_MAX });
    met = byre_resize(img, size_bytes, BYRE_RESIZE_SHRINK,
                      BYRE_PREALLOCATION_OFF, NULL) < 0;
    assert_int_equal(met, faults_failed(&faults) > 0);
    assert_int_equal(store_read(base, AT_SIZE, after, 24, NULL), 0);
    faults_set(&faults, FAULT_WRITE, &(struct fault){ .nth = 0 });
    *headers += met && memcmp(before, after, 24) != 0;

    check_tables(img, 0);
    flushed = write_tables(img, L2_RANGE);
    now = size_of(img);
    byre_close(img, NULL);
    byre_store_unref(store);
    check_reopened(base, flushed, now);
    byre_store_unref(base);
    return met;
}

/* Writes of the new table, of the header that names it, and of the size. */
static void a_resize_survives_writes_that_landed(void **state)
{
    const uint64_t sizes[] = { 4 * SMALL_DISK, SMALL_DISK / 2 };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        unsigned headers = 0;
        uint64_t nth = 1;

        while (resize_with_landing_write(sizes[i], nth, &headers))
            nth++;
        assert_true(nth > 3);
        assert_true(headers > 0);
    }
}

/*
 * The flush after new data and new tables has a write fail, once, for want of
 * space.  Returns whether there is a write number `nth`.
 */
static bool flush_on_a_full_disk(uint64_t nth)
{
    struct byre_store *base = new_image(SMALL_DISK, 512), *store;
    struct byre_error err = { 0 };
    struct faults faults;
    struct byre *img;
    bool met;

    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), 0);
    img = open_image(store);
    assert_true(write_tables(img, 0));
    for (uint64_t at = 512; at < SMALL_DISK; at += L2_RANGE)
        assert_int_equal(byre_write(img, at, pattern, 512, 0, NULL), 0);

    faults_set(&faults, FAULT_WRITE,
               &(struct fault){ .nth = nth, .sys_errno = ENOSPC });
    met = byre_flush(img, &err) < 0;
    assert_int_equal(met, faults_failed(&faults) > 0);
    if (met) {
        assert_int_equal(err.code, BYRE_E_IO);
        assert_int_equal(err.sys_errno, ENOSPC);
    }
    check_tables(img, 0);
    check_disk(img, 512, pattern, 512);
    assert_int_equal(byre_flush(img, NULL), 0);

    /* As it is on the disk, without what closing would still write. */
    byre_store_unref(store);
    store = copy_of(base);
    byre_close(img, NULL);
    img = open_image(store);
    check_tables(img, 0);
    for (uint64_t at = 512; at < SMALL_DISK; at += L2_RANGE)
        check_disk(img, at, pattern, 512);
    assert_int_equal(byre_close(img, NULL), 0);
    byre_store_unref(store);
    byre_store_unref(base);
    return met;
}

/* Counts, L2 tables and L1 entries are written: each of them fails once. */
static void a_full_disk_is_no_end(void **state)
{
    uint64_t nth = 1;

    (void)state;
    while (flush_on_a_full_disk(nth))
        nth++;
    assert_true(nth > 3);
}

/* ---- What is asked of the stores ---- */

/* An image whose parts are spied upon. */
struct watched {
    const char *name;
    uint32_t version;
    uint32_t flags;
    bool has_data_file;
    struct spy spy, data_spy;
    struct byre_store *store, *data;
};

static void watch(struct watched *watched, bool can_zero)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    assert_int_equal(spy_store_new(&watched->spy, can_zero, &watched->store),
                     0);
    assert_int_equal(
        spy_store_new(&watched->data_spy, can_zero, &watched->data), 0);
    opts.virtual_size_bytes = MIB;
    opts.version = watched->version;
    opts.flags = watched->flags;
    if (watched->has_data_file) {
        opts.data_file = "data";
        opts.data_store = watched->data;
    }
    assert_int_equal(byre_create_store(watched->store, &opts, NULL), 0);
}

static struct byre *open_watched(struct watched *watched, uint32_t flags)
{
    return open_with(watched->store,
                     watched->has_data_file ? watched->data : NULL, flags);
}

static void unwatch(struct watched *watched)
{
    byre_store_unref(watched->store);
    byre_store_unref(watched->data);
}

/* The disk is the data file: zeroes by the tables alone would not be there. */
static void a_fast_zero_that_must_write_is_refused(void **state)
{
    const uint64_t ranges[][2] = {
        { 0, 128 * KIB }, { 64 * KIB, 64 * KIB }, { 512, 512 }, { 100, MIB / 2 }
    };
    struct watched watched = { .flags = BYRE_CREATE_DATA_FILE_RAW,
                               .has_data_file = true };
    struct byre *img;

    (void)state;
    watch(&watched, false);
    img = open_watched(&watched, BYRE_OPEN_WRITE);
    assert_int_equal(byre_write(img, 0, pattern, MIB, 0, NULL), 0);
    assert_int_equal(byre_flush(img, NULL), 0);
    spy_forget(&watched.data_spy);
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        for (uint32_t unmap = 0; unmap <= BYRE_WRITE_MAY_UNMAP;
             unmap += BYRE_WRITE_MAY_UNMAP)
            assert_int_equal(byre_zero(img, ranges[i][0], ranges[i][1],
                                       BYRE_WRITE_FAST_ZERO | unmap, NULL),
                             BYRE_E_UNSUPPORTED);
    }
    assert_int_equal(byre_flush(img, NULL), 0);
    assert_int_equal(atomic_load(&watched.data_spy.writes), 0);
    assert_int_equal(atomic_load(&watched.data_spy.unmaps), 0);
    check_disk(img, 0, pattern, MIB);
    assert_int_equal(byre_zero(img, 0, 512, 0, NULL), 0);
    assert_true(atomic_load(&watched.data_spy.writes) > 0);
    assert_int_equal(byre_close(img, NULL), 0);
    unwatch(&watched);
}

/* Gives up whole clusters and parts of them; returns what was unmapped. */
static unsigned give_up(struct watched *watched, uint32_t open_flags)
{
    struct byre *img = open_watched(watched, BYRE_OPEN_WRITE | open_flags);
    const uint32_t unmap = BYRE_WRITE_MAY_UNMAP;

    assert_int_equal(byre_write(img, 0, pattern, MIB, 0, NULL), 0);
    assert_int_equal(byre_flush(img, NULL), 0);
    spy_forget(&watched->spy);
    spy_forget(&watched->data_spy);
    assert_int_equal(byre_zero(img, 0, 128 * KIB, unmap, NULL), 0);
    assert_int_equal(byre_zero(img, 130 * KIB, 2 * KIB, unmap, NULL), 0);
    assert_int_equal(byre_zero(img, 200 * KIB + 1, 700, unmap, NULL), 0);
    assert_int_equal(byre_discard(img, 256 * KIB, 128 * KIB, 0, NULL), 0);
    assert_int_equal(byre_discard(img, 400 * KIB, 3 * KIB, 0, NULL), 0);
    assert_int_equal(byre_discard(img, 500 * KIB, MIB / 4, 0, NULL), 0);
    check_disk(img, 0, zeroes, 128 * KIB);
    check_disk(img, 200 * KIB + 1, zeroes, 700);
    check_disk(img, 400 * KIB, pattern + 400 * KIB, 3 * KIB);
    for (int i = 0; i < 4; i++)
        assert_int_equal(byre_flush(img, NULL), 0);
    assert_int_equal(byre_close(img, NULL), 0);
    return atomic_load(&watched->spy.unmaps) +
           atomic_load(&watched->data_spy.unmaps);
}

/* The control is the same without the flag. */
static void space_is_kept_on_request(void **state)
{
    struct watched kinds[] = {
        { .name = "version 2", .version = 2 },
        { .name = "version 3", .version = 3 },
        { .name = "subclusters", .flags = BYRE_CREATE_EXTENDED_L2 },
        { .name = "data file", .has_data_file = true },
        { .name = "raw data file",
          .has_data_file = true,
          .flags = BYRE_CREATE_DATA_FILE_RAW },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        unsigned kept, given;

        watch(&kinds[i], true);
        kept = give_up(&kinds[i], BYRE_OPEN_KEEP_SPACE);
        given = give_up(&kinds[i], 0);
        unwatch(&kinds[i]);
        if (kept != 0 || given == 0)
            fail_msg("%s: unmapped %u times, and %u without the flag",
                     kinds[i].name, kept, given);
    }
}

/* ---- Order ---- */

/* An image with data that says it was not closed cleanly. */
static uint8_t *dirty_bytes(size_t *ret_length)
{
    struct byre_store *store = new_image(MIB, 4096);
    struct byre *img = open_image(store);
    uint8_t *bytes;

    assert_int_equal(byre_write(img, 0, pattern, MIB / 2, 0, NULL), 0);
    assert_int_equal(byre_close(img, NULL), 0);
    put_word(store, AT_INCOMPATIBLE, DIRTY_BIT);
    put_word(store, AT_AUTOCLEAR, UNKNOWN_BITS);
    bytes = bytes_of(store, ret_length);
    byre_store_unref(store);
    return bytes;
}

/*
 * What the unknown bits vouch for is not kept up to date: they are durably gone
 * before anything else changes, the rebuilt counts included.
 */
static void unknown_autoclear_bits_go_first(void **state)
{
    struct record_log *log;
    struct byre_store *store;
    struct record first;
    struct byre *img;
    size_t length;
    uint8_t *bytes = dirty_bytes(&length);

    (void)state;
    assert_int_equal(record_log_new(&log, NULL), 0);
    assert_int_equal(recorder_store_new(log, bytes, length, &store, NULL), 0);
    img = open_image(store);
    assert_true(record_log_length(log) > 2);
    first = record_log_at(log, 0);
    assert_int_equal(first.kind, RECORD_WRITE);
    assert_int_equal(first.offset, AT_INCOMPATIBLE);
    assert_int_equal(first.length, AT_AUTOCLEAR + 8 - AT_INCOMPATIBLE);
    assert_int_equal(be64_get(first.bytes), DIRTY_BIT);
    assert_int_equal(be64_get(first.bytes + AT_AUTOCLEAR - AT_INCOMPATIBLE), 0);
    assert_int_equal(record_log_at(log, 1).kind, RECORD_FLUSH);

    assert_int_equal(word_at(store, AT_INCOMPATIBLE), 0);
    check_disk(img, 0, pattern, MIB / 2);
    assert_int_equal(byre_close(img, NULL), 0);
    byre_store_unref(store);
    record_log_free(log);
    free(bytes);
}

/* ---- Durability ---- */

enum step { WRITE, WRITE_COMPRESSED, ZERO, DISCARD, WRITE_THEN_FLUSH, STEPS };

#define STEP_BYTES (64 * KIB)

/* Changes the disk at `offset`, durably; returns what it holds there then. */
static const uint8_t *run_step(struct byre *img, enum step step,
                               uint64_t offset, int *ret_result)
{
    const uint32_t fua = BYRE_WRITE_FUA;

    switch (step) {
    case WRITE:
    case WRITE_COMPRESSED:
        *ret_result =
            byre_write(img, offset, pattern + 1, STEP_BYTES,
                       fua | (step == WRITE ? 0 : BYRE_WRITE_COMPRESSED), NULL);
        return pattern + 1;
    case ZERO:
        *ret_result = byre_zero(img, offset, STEP_BYTES, fua, NULL);
        return zeroes;
    case DISCARD:
        *ret_result = byre_discard(img, offset, STEP_BYTES, fua, NULL);
        return zeroes;
    default:
        *ret_result = byre_write(img, offset, pattern + 2, STEP_BYTES, 0, NULL);
        if (*ret_result == BYRE_OK)
            *ret_result = byre_flush(img, NULL);
        return pattern + 2;
    }
}

/* Every state of a power cut right now has `bytes` at `offset`. */
static void check_cut(struct record_log *log, bool has_data_file,
                      uint64_t offset, const uint8_t *bytes)
{
    struct byre_store *stores[2] = { NULL, NULL };
    struct crash_states *states;

    assert_int_equal(crash_states_new(log, 8, 1, &states, NULL), 0);
    assert_int_equal(crash_states_seek(states, record_log_length(log), NULL),
                     0);
    for (uint64_t i = 0; i < crash_states_count(states); i++) {
        struct byre *img;

        assert_int_equal(crash_states_build(states, i, stores, NULL), 0);
        img = open_with(stores[0], has_data_file ? stores[1] : NULL, 0);
        check_disk(img, offset, bytes, STEP_BYTES);
        assert_int_equal(byre_close(img, NULL), 0);
        byre_store_unref(stores[0]);
        byre_store_unref(stores[1]);
    }
    crash_states_free(states);
}

static void check_durable(bool has_data_file)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store, *data = NULL;
    struct record_log *log;
    struct byre *img;

    assert_int_equal(record_log_new(&log, NULL), 0);
    assert_int_equal(recorder_store_new(log, NULL, 0, &store, NULL), 0);
    if (has_data_file)
        assert_int_equal(recorder_store_new(log, NULL, 0, &data, NULL), 0);
    opts.virtual_size_bytes = MIB;
    opts.data_store = data;
    opts.data_file = has_data_file ? "data" : NULL;
    assert_int_equal(byre_create_store(store, &opts, NULL), 0);
    img = open_with(store, data, BYRE_OPEN_WRITE);
    assert_int_equal(byre_write(img, 0, pattern, MIB / 2, 0, NULL), 0);

    for (int step = WRITE; step < STEPS; step++) {
        /* A compressed cluster has a place of its own, the others share. */
        const uint64_t offset = step == WRITE_COMPRESSED ? MIB / 2 : 0;
        const uint8_t *bytes;
        int r;

        if (step == WRITE_COMPRESSED && has_data_file)
            continue;
        bytes = run_step(img, (enum step)step, offset, &r);
        assert_int_equal(r, BYRE_OK);
        check_cut(log, has_data_file, offset, bytes);
    }
    assert_int_equal(byre_close(img, NULL), 0);
    byre_store_unref(store);
    byre_store_unref(data);
    record_log_free(log);
}

static void what_returned_is_durable(void **state)
{
    (void)state;
    check_durable(false);
    check_durable(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resize_survives_writes_that_landed),
        cmocka_unit_test(a_full_disk_is_no_end),
        cmocka_unit_test(a_fast_zero_that_must_write_is_refused),
        cmocka_unit_test(space_is_kept_on_request),
        cmocka_unit_test(unknown_autoclear_bits_go_first),
        cmocka_unit_test(what_returned_is_durable),
    };

    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % 251 + 1);
    return cmocka_run_group_tests_name("write faults", tests, NULL, NULL);
}
