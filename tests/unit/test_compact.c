/* SPDX-License-Identifier: MIT */
/*
 * Without these, compacting could report what it has not done, begin on an
 * image that it must not touch, or go on with another image's cache afterwards,
 * or lose what bitmaps have noted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "new_image.h"
#include "store/store.h"

#define CLUSTER  UINT64_C(4096)
#define CLUSTERS 200

static struct byre *open_image(struct byre_store *store, uint32_t flags,
                               const char *format)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre *img = NULL;
    struct byre_error err = { 0 };

    opts.flags = flags;
    opts.format = format;
    if (byre_open_store(store, NULL, &opts, &img, &err) < 0)
        fail_msg("%s", err.message);
    return img;
}

static uint64_t file_bytes(struct byre_store *store)
{
    uint64_t bytes = 0;

    assert_int_equal(store_get_size(store, &bytes, NULL), BYRE_OK);
    return bytes;
}

static void put(struct byre *img, uint64_t cluster, uint64_t count, int byte)
{
    uint8_t *buf = malloc((size_t)(count * CLUSTER));

    memset(buf, byte, (size_t)(count * CLUSTER));
    assert_int_equal(byre_write(img, cluster * CLUSTER, buf,
                                (size_t)(count * CLUSTER), 0, NULL),
                     BYRE_OK);
    free(buf);
}

static void assert_bytes(struct byre *img, uint64_t cluster, uint64_t count,
                         int byte)
{
    uint8_t buf[CLUSTER];

    for (uint64_t i = cluster; i < cluster + count; i++) {
        assert_int_equal(byre_read(img, i * CLUSTER, buf, sizeof(buf), NULL),
                         BYRE_OK);
        for (size_t j = 0; j < sizeof(buf); j++)
            assert_int_equal(buf[j], byte);
    }
}

static int compact(struct byre *img, bool cancel,
                   struct byre_compact_result *result, struct byre_error *err)
{
    struct byre_job *job = NULL;
    int r = byre_compact(img, &job, err);

    if (r == BYRE_OK && cancel)
        byre_job_cancel(job);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    if (r == BYRE_OK)
        assert_int_equal(byre_compact_get_result(job, result, NULL), BYRE_OK);
    else if (job != NULL)
        assert_int_equal(byre_compact_get_result(job, result, NULL),
                         BYRE_E_STATE);
    byre_job_free(job);
    return r;
}

/* Zeroes in the middle, which were written as data; then all moves up. */
static struct byre *worn_image(struct byre_store *store)
{
    struct byre *img = open_image(store, BYRE_OPEN_WRITE, "qcow2");

    put(img, 0, CLUSTERS, 1);
    put(img, 20, 100, 0);
    put(img, 120, 10, 7);
    assert_int_equal(byre_flush(img, NULL), BYRE_OK);
    return img;
}

static void assert_worn(struct byre *img)
{
    assert_bytes(img, 0, 20, 1);
    assert_bytes(img, 20, 100, 0);
    assert_bytes(img, 120, 10, 7);
    assert_bytes(img, 130, CLUSTERS - 130, 1);
}

static void test_figures(void **state)
{
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre *img = worn_image(store);
    const uint64_t before = file_bytes(store);

    (void)state;
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_int_equal(result.before_bytes, before);
    assert_int_equal(result.freed_clusters, 100);
    assert_int_equal(result.after_bytes, before - 100 * CLUSTER);
    assert_int_equal(file_bytes(store), result.after_bytes);
    assert_in_range(result.moved_clusters, 70, 100);
    assert_worn(img);

    /* There is nothing left to do. */
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_int_equal(result.freed_clusters, 0);
    assert_int_equal(result.moved_clusters, 0);
    assert_int_equal(result.after_bytes, result.before_bytes);

    /* Where it goes on writing nothing else is. */
    put(img, 30, 40, 9);
    assert_bytes(img, 30, 40, 9);
    assert_bytes(img, 0, 20, 1);
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
    img = open_image(store, 0, "qcow2");
    assert_bytes(img, 30, 40, 9);
    assert_bytes(img, 120, 10, 7);
    assert_bytes(img, 130, CLUSTERS - 130, 1);
    byre_close(img, NULL);
    byre_store_unref(store);
}

static void test_canceled(void **state)
{
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre *img = worn_image(store);

    (void)state;
    assert_int_equal(compact(img, true, &result, NULL), BYRE_E_CANCELED);
    assert_worn(img);
    put(img, 25, 5, 3);
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_int_equal(result.freed_clusters, 95);
    assert_bytes(img, 25, 5, 3);
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
    byre_store_unref(store);
}

static void test_refused(void **state)
{
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre_store *raw = new_store();
    struct byre_error err = { 0 };
    struct byre *img;

    (void)state;
    img = open_image(store, 0, "qcow2");
    assert_int_equal(compact(img, false, &result, &err), BYRE_E_STATE);
    byre_close(img, NULL);

    assert_int_equal(store_resize(raw, 4096, NULL), BYRE_OK);
    img = open_image(raw, BYRE_OPEN_WRITE, "raw");
    assert_int_equal(compact(img, false, &result, &err), BYRE_E_UNSUPPORTED);
    byre_close(img, NULL);

    assert_int_equal(byre_compact(NULL, NULL, &err), BYRE_E_INVALID);
    assert_int_equal(byre_compact_get_result(NULL, &result, &err),
                     BYRE_E_STATE);
    byre_store_unref(raw);
    byre_store_unref(store);
}

/* A count that is too low: nothing is written, and the disk reads on. */
static void test_corrupt(void **state)
{
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre *img = worn_image(store);
    struct byre_error err = { 0 };
    const uint8_t none[2] = { 0, 0 };
    uint64_t before;

    (void)state;
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
    before = file_bytes(store);
    /* The first block of a new image is its third cluster. */
    assert_int_equal(store_write(store, 2 * CLUSTER + 2 * 50, none, 2, NULL),
                     BYRE_OK);
    img = open_image(store, BYRE_OPEN_WRITE, "qcow2");
    assert_int_equal(compact(img, false, &result, &err), BYRE_E_CORRUPT);
    assert_non_null(strstr(err.message, "check"));
    assert_int_equal(file_bytes(store), before);
    assert_worn(img);
    byre_close(img, NULL);
    byre_store_unref(store);
}

static uint64_t noted(struct byre *img, const char *name)
{
    uint64_t bytes = 0;

    assert_int_equal(byre_bitmap_dirty_bytes(img, name, &bytes, NULL), BYRE_OK);
    return bytes;
}

static void assert_sound(struct byre_store *store)
{
    struct byre_check_options opts = BYRE_CHECK_OPTIONS_INIT;
    struct byre_check_result result = BYRE_CHECK_RESULT_INIT;
    struct byre *img = open_image(store, BYRE_OPEN_CHECK, "qcow2");
    struct byre_job *job = NULL;

    assert_int_equal(byre_check(img, &opts, &job, NULL), BYRE_OK);
    assert_int_equal(byre_job_run(job, NULL), BYRE_OK);
    assert_int_equal(byre_check_get_result(job, &result, NULL), BYRE_OK);
    assert_int_equal(result.corruptions, 0);
    assert_int_equal(result.check_errors, 0);
    assert_int_equal(result.leaks, 0);
    byre_job_free(job);
    byre_close(img, NULL);
}

/* Bitmaps that are in the file, behind holes, and that are in memory only. */
static void test_bitmaps(void **state)
{
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre *img = worn_image(store);

    (void)state;
    assert_int_equal(byre_bitmap_add(img, "old", 4096, 0, NULL), BYRE_OK);
    assert_int_equal(byre_bitmap_add(img, "gone", 512, 0, NULL), BYRE_OK);
    put(img, 3, 1, 1);
    assert_int_equal(byre_bitmap_store(img, NULL), BYRE_OK);
    put(img, 5, 1, 1);
    assert_int_equal(byre_bitmap_add(img, "new", 4096, 0, NULL), BYRE_OK);
    put(img, 7, 2, 1);
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_true(result.freed_clusters >= 100);
    assert_worn(img);
    assert_int_equal(noted(img, "old"), 4 * CLUSTER);
    assert_int_equal(noted(img, "gone"), 4 * CLUSTER);
    assert_int_equal(noted(img, "new"), 2 * CLUSTER);

    /* They go on, in places of their own. */
    put(img, 20, 50, 9);
    assert_int_equal(byre_bitmap_remove(img, "gone", NULL), BYRE_OK);
    put(img, 20, 50, 0);
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
    assert_sound(store);
    img = open_image(store, 0, "qcow2");
    assert_worn(img);
    assert_int_equal(noted(img, "old"), 54 * CLUSTER);
    assert_int_equal(noted(img, "new"), 52 * CLUSTER);
    byre_close(img, NULL);
    byre_store_unref(store);
}

static void take_snapshot(struct byre *img, const char *name)
{
    struct byre_snapshot_options opts = BYRE_SNAPSHOT_OPTIONS_INIT;

    opts.name = name;
    assert_int_equal(byre_snapshot_create(img, &opts, NULL), BYRE_OK);
}

/* What is known of snapshots moves with their tables. */
static void test_snapshots(void **state)
{
    const struct byre_snapshot_ref first = { .name = "first" };
    const struct byre_snapshot_ref second = { .name = "second" };
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre *img = worn_image(store);

    (void)state;
    take_snapshot(img, "first");
    put(img, 0, 50, 4);
    take_snapshot(img, "second");
    put(img, 0, CLUSTERS, 0);
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_in_range(result.freed_clusters, 250, 400);

    assert_int_equal(byre_snapshot_apply(img, &first, NULL), BYRE_OK);
    assert_worn(img);
    take_snapshot(img, "third");
    assert_int_equal(byre_snapshot_delete(img, &first, 1, NULL), BYRE_OK);
    assert_int_equal(compact(img, false, &result, NULL), BYRE_OK);
    assert_int_equal(byre_snapshot_apply(img, &second, NULL), BYRE_OK);
    assert_bytes(img, 0, 50, 4);
    assert_bytes(img, 50, 70, 0);
    assert_bytes(img, 120, 10, 7);
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
    assert_sound(store);
    byre_store_unref(store);
}

/* The image may have become one for reading since the job was made. */
static void test_reopened(void **state)
{
    struct byre_store *store = new_image(CLUSTERS * CLUSTER, CLUSTER);
    struct byre *img = worn_image(store);
    struct byre_job *job = NULL;
    const uint64_t before = file_bytes(store);

    (void)state;
    assert_int_equal(byre_compact(img, &job, NULL), BYRE_OK);
    assert_int_equal(byre_reopen(img, 0, NULL), BYRE_OK);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_STATE);
    byre_job_free(job);
    assert_int_equal(file_bytes(store), before);
    assert_worn(img);
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
    byre_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),  cmocka_unit_test(test_canceled),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_bitmaps),  cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_reopened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
