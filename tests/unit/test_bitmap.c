/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps through the calls of byre.h, on images in memory.  Without it what
 * many threads write could be noted in part, two images that merge from each
 * other could wait for ever, and a limit could be missed by one.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "image/image.h"
#include "qcow2/internal.h"

#define DISK_BYTES (UINT64_C(4) << 20)

static struct byre_store *new_image(uint64_t bytes, uint64_t cluster_bytes)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store = NULL;

    opts.virtual_size_bytes = bytes;
    opts.cluster_size_bytes = cluster_bytes;
    assert_int_equal(byre_store_new_memory("", 0, &store, NULL), BYRE_OK);
    assert_int_equal(byre_create_store(store, &opts, NULL), BYRE_OK);
    return store;
}

static struct byre *open_image(struct byre_store *store, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { .message = "" };
    struct byre *img = NULL;

    opts.format = "qcow2";
    opts.flags = flags;
    if (byre_open_store(store, "image", &opts, &img, &err) < 0)
        fail_msg("%s", err.message);
    return img;
}

static void close_image(struct byre *img)
{
    struct byre_error err = { .message = "" };

    if (byre_close(img, &err) < 0)
        fail_msg("%s", err.message);
}

static uint64_t dirty_bytes(struct byre *img, const char *name)
{
    uint64_t bytes = 0;
    struct byre_error err = { .message = "" };

    if (byre_bitmap_dirty_bytes(img, name, &bytes, &err) < 0)
        fail_msg("%s", err.message);
    return bytes;
}

/* ---- Threads ---- */

#define THREADS 4

struct thread {
    struct byre *img;
    uint64_t number;
    pthread_t thread;
};

/* Every fourth of the odd sectors: all threads meet in each granule. */
static void *write_sectors(void *user)
{
    struct thread *thread = user;
    uint8_t sector[512];

    memset(sector, 'x', sizeof(sector));
    for (uint64_t at = 512 + thread->number * 1024; at < DISK_BYTES;
         at += THREADS * UINT64_C(1024)) {
        if (byre_write(thread->img, at, sector, sizeof(sector), 0, NULL) < 0)
            abort();
    }
    return NULL;
}

static void run_threads(struct thread *threads, void *(*run)(void *))
{
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(
            pthread_create(&threads[i].thread, NULL, run, &threads[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
}

static void test_threads(void **state)
{
    struct byre_store *store = new_image(DISK_BYTES, 65536);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE);
    struct thread threads[THREADS];

    (void)state;
    assert_int_equal(byre_bitmap_add(img, "fine", 512, 0, NULL), BYRE_OK);
    assert_int_equal(byre_bitmap_add(img, "coarse", 1 << 20, 0, NULL), BYRE_OK);
    assert_int_equal(
        byre_bitmap_add(img, "off", 512, BYRE_BITMAP_DISABLED, NULL), BYRE_OK);
    for (uint64_t i = 0; i < THREADS; i++)
        threads[i] = (struct thread){ .img = img, .number = i };
    run_threads(threads, write_sectors);
    close_image(img);

    img = open_image(store, 0);
    assert_int_equal(dirty_bytes(img, "fine"), DISK_BYTES / 2);
    assert_int_equal(dirty_bytes(img, "coarse"), DISK_BYTES);
    assert_int_equal(dirty_bytes(img, "off"), 0);
    for (uint64_t at = 0; at < DISK_BYTES; at += 512) {
        uint32_t dirty = 2;
        uint64_t length = 0;

        assert_int_equal(byre_bitmap_extent(img, "fine", at, DISK_BYTES - at,
                                            &dirty, &length, NULL),
                         BYRE_OK);
        assert_int_equal(dirty, at / 512 % 2);
        assert_int_equal(length, 512);
    }
    close_image(img);
    byre_store_unref(store);
}

/* Two images that merge from each other, while others write. */
struct crossing {
    struct byre *to, *from;
};

static void *merge_often(void *user)
{
    struct crossing *crossing = user;

    for (int i = 0; i < 200; i++) {
        if (byre_bitmap_merge(crossing->to, "b", crossing->from, "b", NULL) <
                0 ||
            byre_bitmap_disable(crossing->to, "b", NULL) < 0 ||
            byre_bitmap_enable(crossing->to, "b", NULL) < 0 ||
            byre_write(crossing->to, (uint64_t)i * 8192, "x", 1, 0, NULL) < 0)
            abort();
    }
    return NULL;
}

static void test_crossing_merges(void **state)
{
    struct byre_store *stores[2];
    struct byre *images[2];
    pthread_t threads[2];
    struct crossing crossings[2];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        stores[i] = new_image(DISK_BYTES, 65536);
        images[i] = open_image(stores[i], BYRE_OPEN_WRITE);
        assert_int_equal(byre_bitmap_add(images[i], "b", 4096, 0, NULL),
                         BYRE_OK);
    }
    for (size_t i = 0; i < 2; i++) {
        crossings[i] = (struct crossing){ images[i], images[1 - i] };
        assert_int_equal(
            pthread_create(&threads[i], NULL, merge_often, &crossings[i]), 0);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 2; i++) {
        assert_true(dirty_bytes(images[i], "b") >= 200 * 4096);
        close_image(images[i]);
        byre_store_unref(stores[i]);
    }
}

/* ---- Limits ---- */

static void expect(int r, int want, const struct byre_error *err,
                   const char *text)
{
    assert_int_equal(r, want);
    if (text != NULL && strstr(err->message, text) == NULL)
        fail_msg("'%s' has no '%s'", err->message, text);
}

static void test_limits(void **state)
{
    struct byre_store *store = new_image(UINT64_C(1) << 41, 65536);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE);
    struct byre_error err = { .message = "" };
    char name[1025];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[1024] = '\0';
    expect(byre_bitmap_add(img, name, 0, 0, &err), BYRE_E_INVALID, &err,
           "limit of 1023");
    name[1023] = '\0';
    expect(byre_bitmap_add(img, name, 0, 0, &err), BYRE_OK, &err, NULL);
    expect(byre_bitmap_add(img, name, 0, 0, &err), BYRE_E_INVALID, &err,
           "already exists");
    expect(byre_bitmap_add(img, "x", 256, 0, &err), BYRE_E_INVALID, &err,
           "power of 2");
    expect(byre_bitmap_add(img, "x", UINT64_C(1) << 32, 0, &err),
           BYRE_E_INVALID, &err, "power of 2");
    expect(byre_bitmap_add(img, "x", 0, 1, &err), BYRE_E_INVALID, &err,
           "unknown flags");
    /* 2 TiB in sectors are 512 MiB of bits, just what is allowed. */
    expect(byre_bitmap_add(img, "512", 512, 0, &err), BYRE_OK, &err, NULL);
    expect(byre_bitmap_add(img, "2g", UINT64_C(1) << 31, 0, &err), BYRE_OK,
           &err, NULL);
    expect(byre_resize(img, (UINT64_C(1) << 41) + 512, 0,
                       BYRE_PREALLOCATION_OFF, &err),
           BYRE_E_LIMIT, &err, "larger granularity");
    expect(
        byre_resize(img, 0, BYRE_RESIZE_SHRINK, BYRE_PREALLOCATION_OFF, &err),
        BYRE_E_UNSUPPORTED, &err, "no bits");
    assert_int_equal(byre_write(img, (UINT64_C(1) << 41) - 1, "x", 1, 0, NULL),
                     BYRE_OK);
    close_image(img);

    img = open_image(store, 0);
    assert_int_equal(dirty_bytes(img, "512"), 512);
    assert_int_equal(dirty_bytes(img, "2g"), UINT64_C(1) << 31);
    expect(byre_bitmap_add(img, "x", 0, 0, &err), BYRE_E_STATE, &err,
           "reading only");
    expect(byre_bitmap_clear(img, "512", &err), BYRE_E_STATE, &err, NULL);
    close_image(img);
    byre_store_unref(store);
}

#define MANY 1500

static void test_many(void **state)
{
    struct byre_store *store = new_image(DISK_BYTES, 512);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE);
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    char name[32];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "bitmap %d", i);
        assert_int_equal(byre_bitmap_add(img, name, 1 << 20, 0, NULL), BYRE_OK);
    }
    assert_int_equal(byre_write(img, 0, "x", 1, 0, NULL), BYRE_OK);
    close_image(img);

    img = open_image(store, BYRE_OPEN_WRITE);
    assert_int_equal(byre_bitmap_list(img, &list, &count, NULL), BYRE_OK);
    assert_int_equal(count, MANY);
    assert_string_equal(list[MANY - 1].name, name);
    assert_int_equal(list[0].flags, BYRE_BITMAP_AUTO);
    assert_int_equal(dirty_bytes(img, name), 1 << 20);
    close_image(img);
    byre_store_unref(store);
}

/* ---- What the file has meanwhile ---- */

static uint32_t flags_in_file(struct byre_store *store)
{
    struct byre *img = open_image(store, BYRE_OPEN_METADATA_ONLY);
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    uint32_t flags;

    assert_int_equal(byre_bitmap_list(img, &list, &count, NULL), BYRE_OK);
    assert_int_equal(count, 1);
    flags = list[0].flags;
    close_image(img);
    return flags;
}

/* In use from before the first write until it is closed, also when stored. */
static void test_in_use(void **state)
{
    struct byre_store *store = new_image(DISK_BYTES, 4096);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE);

    (void)state;
    assert_int_equal(byre_bitmap_add(img, "b", 0, 0, NULL), BYRE_OK);
    close_image(img);
    assert_int_equal(flags_in_file(store), BYRE_BITMAP_AUTO);

    img = open_image(store, BYRE_OPEN_WRITE);
    assert_int_equal(flags_in_file(store),
                     BYRE_BITMAP_AUTO | BYRE_BITMAP_IN_USE);
    assert_int_equal(byre_write(img, 0, "x", 1, 0, NULL), BYRE_OK);
    assert_int_equal(byre_bitmap_store(img, NULL), BYRE_OK);
    assert_int_equal(flags_in_file(store),
                     BYRE_BITMAP_AUTO | BYRE_BITMAP_IN_USE);
    close_image(img);
    assert_int_equal(flags_in_file(store), BYRE_BITMAP_AUTO);
    byre_store_unref(store);
}

/* An image that is opened and closed without a change stays as it is. */
static void test_unchanged(void **state)
{
    struct byre_store *store = new_image(DISK_BYTES, 4096);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE);
    static uint8_t before[1 << 20], after[1 << 20];
    uint64_t size = 0;

    (void)state;
    assert_int_equal(byre_bitmap_add(img, "b", 0, 0, NULL), BYRE_OK);
    assert_int_equal(byre_write(img, 70000, "x", 1, 0, NULL), BYRE_OK);
    close_image(img);
    assert_int_equal(store_get_size(store, &size, NULL), BYRE_OK);
    assert_true(size <= sizeof(before));
    assert_int_equal(store_read(store, 0, before, sizeof(before), NULL),
                     BYRE_OK);

    img = open_image(store, BYRE_OPEN_WRITE);
    assert_int_equal(byre_write(img, 70000, "x", 1, 0, NULL), BYRE_OK);
    close_image(img);
    assert_int_equal(store_read(store, 0, after, sizeof(after), NULL), BYRE_OK);
    assert_memory_equal(before, after, sizeof(before));
    byre_store_unref(store);
}

/* As after a snapshot is applied. */
static void test_mark_all(void **state)
{
    struct byre_store *store = new_image(DISK_BYTES + 512, 4096);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE);

    (void)state;
    assert_int_equal(byre_bitmap_add(img, "b", 0, 0, NULL), BYRE_OK);
    assert_int_equal(byre_bitmap_add(img, "off", 0, BYRE_BITMAP_DISABLED, NULL),
                     BYRE_OK);
    qcow2_bitmaps_mark_all(qcow2_of(img->engine));
    close_image(img);
    img = open_image(store, 0);
    assert_int_equal(dirty_bytes(img, "b"), DISK_BYTES + 512);
    assert_int_equal(dirty_bytes(img, "off"), 0);
    close_image(img);
    byre_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),  cmocka_unit_test(test_crossing_merges),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_many),
        cmocka_unit_test(test_in_use),   cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_mark_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
