/* SPDX-License-Identifier: MIT */
/*
 * What changes the structure of an image, and the bitmaps that it has.  Without
 * these a bitmap could be taken for true that does not know of the last writes,
 * and a header that may have arrived could be written behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "new_image.h"
#include "store/fault.h"

#define CLUSTER    4096
#define DISK_BYTES (UINT64_C(1) << 20)

#define IN_USE BYRE_BITMAP_IN_USE
#define AUTO   BYRE_BITMAP_AUTO

static void must(int r, const struct byre_error *err)
{
    if (r < 0)
        fail_msg("%s", err->message);
}

static struct byre *open_image(struct byre_store *store, uint32_t flags,
                               struct byre *backing)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *img = NULL;

    opts.format = "qcow2";
    opts.flags = flags;
    opts.backing = backing;
    must(byre_open_store(store, "image", &opts, &img, &err), &err);
    return img;
}

static void close_image(struct byre *img)
{
    struct byre_error err = { 0 };

    must(byre_close(img, &err), &err);
}

static void write_block(struct byre *img, uint64_t offset, int byte)
{
    struct byre_error err = { 0 };
    uint8_t block[CLUSTER];

    memset(block, byte, sizeof(block));
    must(byre_write(img, offset, block, sizeof(block), 0, &err), &err);
}

static int block_at(struct byre *img, uint64_t offset)
{
    struct byre_error err = { 0 };
    uint8_t block[CLUSTER];

    must(byre_read(img, offset, block, sizeof(block), &err), &err);
    assert_int_equal(block[0], block[CLUSTER - 1]);
    return block[0];
}

/* An image with a bitmap, open for writing. */
static struct byre *new_with_bitmap(struct byre_store **ret_store)
{
    struct byre_error err = { 0 };
    struct byre *img;

    *ret_store = new_image(DISK_BYTES, CLUSTER);
    img = open_image(*ret_store, BYRE_OPEN_WRITE, NULL);
    must(byre_bitmap_add(img, "b", CLUSTER, 0, &err), &err);
    write_block(img, 0, 1);
    close_image(img);
    return open_image(*ret_store, BYRE_OPEN_WRITE, NULL);
}

/* What a crash at this moment would leave of the only bitmap. */
static uint32_t flags_in_file(struct byre_store *store)
{
    struct byre *img = open_image(store, BYRE_OPEN_METADATA_ONLY, NULL);
    const struct byre_bitmap *list = NULL;
    struct byre_error err = { 0 };
    size_t count = 0;
    uint32_t flags;

    must(byre_bitmap_list(img, &list, &count, &err), &err);
    assert_int_equal(count, 1);
    flags = list[0].flags;
    close_image(img);
    return flags;
}

static uint64_t dirty_bytes(struct byre *img)
{
    struct byre_error err = { 0 };
    uint64_t bytes = 0;

    must(byre_bitmap_dirty_bytes(img, "b", &bytes, &err), &err);
    return bytes;
}

/* Leaks where they are allowed, and flags that are missing. */
struct counts {
    uint64_t damages;
    bool leaks_allowed;
};

static void count_damage(void *user, const struct byre_finding *finding)
{
    struct counts *counts = user;

    if (counts->leaks_allowed &&
        (finding->kind == BYRE_FINDING_LEAK ||
         strstr(finding->text, "lacks the COPIED flag") != NULL))
        return;
    print_message("%s\n", finding->text);
    counts->damages++;
}

static void assert_no_damage(struct byre_store *store, bool leaks_allowed)
{
    struct byre *img = open_image(store, BYRE_OPEN_CHECK, NULL);
    struct byre_check_options opts = BYRE_CHECK_OPTIONS_INIT;
    struct counts counts = { .leaks_allowed = leaks_allowed };
    struct byre_job *job = NULL;
    struct byre_error err = { 0 };

    opts.found = count_damage;
    opts.user = &counts;
    must(byre_check(img, &opts, &job, &err), &err);
    must(byre_job_run(job, &err), &err);
    assert_int_equal(counts.damages, 0);
    byre_job_free(job);
    close_image(img);
}

static void assert_sound(struct byre_store *store)
{
    assert_no_damage(store, false);
}

/* ---- Amend ---- */

#define OPTIONS(...)                                                           \
    {                                                                          \
        .size = sizeof(struct byre_amend_options), __VA_ARGS__                 \
    }

static int amend(struct byre *img, const struct byre_amend_options *opts,
                 struct byre_error *err)
{
    struct byre_job *job = NULL;
    int r = byre_amend(img, opts, &job, err);

    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    byre_job_free(job);
    return r;
}

static const struct byre_amend_options amendments[] = {
    OPTIONS(.which = 0),
    OPTIONS(.which = BYRE_AMEND_LAZY_REFCOUNTS, .lazy_refcounts = 1),
    OPTIONS(.which = BYRE_AMEND_REFCOUNT_BITS, .refcount_bits = 64),
    OPTIONS(.which = BYRE_AMEND_REFCOUNT_BITS, .refcount_bits = 1),
    OPTIONS(.which = BYRE_AMEND_SIZE, .size_bytes = 3 * DISK_BYTES),
    OPTIONS(.which = BYRE_AMEND_SIZE, .size_bytes = DISK_BYTES / 2),
    OPTIONS(.which = BYRE_AMEND_SIZE | BYRE_AMEND_REFCOUNT_BITS,
            .size_bytes = 300 * DISK_BYTES, .refcount_bits = 8),
};

/* The image goes on being written: its bitmaps are in use, and true. */
static void test_amend(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(amendments) / sizeof(amendments[0]); i++) {
        struct byre_error err = { 0 };
        struct byre_store *store;
        struct byre *img = new_with_bitmap(&store);

        write_block(img, 8 * CLUSTER, 2);
        must(amend(img, &amendments[i], &err), &err);
        assert_int_equal(flags_in_file(store), AUTO | IN_USE);
        write_block(img, 16 * CLUSTER, 3);
        must(byre_flush(img, &err), &err);
        assert_int_equal(flags_in_file(store), AUTO | IN_USE);
        assert_int_equal(dirty_bytes(img), 3 * CLUSTER);
        close_image(img);

        assert_sound(store);
        img = open_image(store, 0, NULL);
        assert_int_equal(flags_in_file(store), AUTO);
        assert_int_equal(dirty_bytes(img), 3 * CLUSTER);
        assert_int_equal(block_at(img, 16 * CLUSTER), 3);
        close_image(img);
        byre_store_unref(store);
    }
}

/* Also one that is not in the file yet. */
static void test_no_older_version(void **state)
{
    static const struct byre_amend_options opts =
        OPTIONS(.which = BYRE_AMEND_VERSION, .version = 2);
    struct byre_store *store = new_image(DISK_BYTES, CLUSTER);
    struct byre *img = open_image(store, BYRE_OPEN_WRITE, NULL);
    struct byre_error err = { 0 };

    (void)state;
    must(byre_bitmap_add(img, "b", CLUSTER, 0, &err), &err);
    for (int i = 0; i < 2; i++) {
        struct byre_info info = BYRE_INFO_INIT;

        assert_int_equal(amend(img, &opts, &err), BYRE_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "bitmap --remove"));
        must(byre_get_info(img, &info, &err), &err);
        assert_int_equal(info.version, 3);
        close_image(img);
        img = open_image(store, BYRE_OPEN_WRITE, NULL);
    }
    must(byre_bitmap_remove(img, "b", &err), &err);
    must(amend(img, &opts, &err), &err);
    write_block(img, 0, 7);
    close_image(img);
    assert_sound(store);
    img = open_image(store, BYRE_OPEN_WRITE, NULL);
    assert_int_equal(block_at(img, 0), 7);
    close_image(img);
    byre_store_unref(store);
}

/* What hides a longer backing file comes before the older version has no way to
   say it. */
static void test_longer_and_older(void **state)
{
    static const struct byre_amend_options opts =
        OPTIONS(.which = BYRE_AMEND_VERSION | BYRE_AMEND_SIZE, .version = 2,
                .size_bytes = DISK_BYTES);
    struct byre_store *base_store = new_image(DISK_BYTES, CLUSTER), *store;
    struct byre *base = open_image(base_store, BYRE_OPEN_WRITE, NULL), *img;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err = { 0 };

    (void)state;
    for (uint64_t at = 0; at < DISK_BYTES; at += CLUSTER)
        write_block(base, at, 1);
    must(byre_reopen(base, 0, &err), &err);
    store = new_store();
    create.virtual_size_bytes = DISK_BYTES / 2;
    create.cluster_size_bytes = CLUSTER;
    create.flags = BYRE_CREATE_BACKING_UNCHECKED;
    create.backing_name = "base";
    create.backing_format = "qcow2";
    must(byre_create_store(store, &create, &err), &err);
    img = open_image(store, BYRE_OPEN_WRITE, base);
    must(amend(img, &opts, &err), &err);
    for (int i = 0; i < 2; i++) {
        for (uint64_t at = 0; at < DISK_BYTES; at += CLUSTER)
            assert_int_equal(block_at(img, at), at < DISK_BYTES / 2);
        close_image(img);
        img = open_image(store, 0, base);
    }
    close_image(img);
    assert_sound(store);
    close_image(base);
    byre_store_unref(store);
    byre_store_unref(base_store);
}

/* ---- Snapshots ---- */

static void snapshot(struct byre *img, const char *name)
{
    struct byre_snapshot_options opts = BYRE_SNAPSHOT_OPTIONS_INIT;
    struct byre_error err = { 0 };

    opts.name = name;
    must(byre_snapshot_create(img, &opts, &err), &err);
}

/* Another disk with another size: nothing is known to be as it was. */
static void test_snapshots(void **state)
{
    static const struct byre_snapshot_ref ref = { .name = "s" };
    struct byre_error err = { 0 };
    struct byre_store *store;
    struct byre *img = new_with_bitmap(&store);

    (void)state;
    must(byre_bitmap_add(img, "off", CLUSTER, BYRE_BITMAP_DISABLED, &err),
         &err);
    snapshot(img, "s");
    assert_int_equal(dirty_bytes(img), CLUSTER);
    must(byre_resize(img, 2 * DISK_BYTES + 512, 0, 0, &err), &err);
    write_block(img, 2 * DISK_BYTES - CLUSTER, 4);
    assert_int_equal(dirty_bytes(img), 2 * CLUSTER);
    must(byre_snapshot_apply(img, &ref, &err), &err);
    assert_int_equal(dirty_bytes(img), DISK_BYTES);
    must(byre_bitmap_clear(img, "b", &err), &err);
    write_block(img, 0, 5);
    must(byre_snapshot_delete(img, &ref, 1, &err), &err);
    assert_int_equal(dirty_bytes(img), CLUSTER);
    close_image(img);

    assert_sound(store);
    img = open_image(store, 0, NULL);
    assert_int_equal(dirty_bytes(img), CLUSTER);
    assert_int_equal(block_at(img, 0), 5);
    close_image(img);
    byre_store_unref(store);
}

/* The file as a crash leaves it now. */
static struct byre_store *copy_store(struct byre_store *store)
{
    struct byre_store *copy = NULL;
    uint64_t size = 0;
    uint8_t *bytes;

    assert_int_equal(store_get_size(store, &size, NULL), 0);
    bytes = malloc((size_t)size);
    assert_non_null(bytes);
    assert_int_equal(store_read(store, 0, bytes, (size_t)size, NULL), 0);
    assert_int_equal(byre_store_new_memory(bytes, (size_t)size, &copy, NULL),
                     0);
    free(bytes);
    return copy;
}

/* A crash behind it leaves a bitmap of the other size, in use. */
static void test_apply_and_crash(void **state)
{
    static const struct byre_snapshot_ref ref = { .name = "s" };
    struct byre_error err = { 0 };
    struct byre_store *store, *left;
    struct byre *img = new_with_bitmap(&store);

    (void)state;
    snapshot(img, "s");
    must(byre_resize(img, 300 * DISK_BYTES, 0, 0, &err), &err);
    close_image(img);
    img = open_image(store, BYRE_OPEN_WRITE, NULL);
    must(byre_snapshot_apply(img, &ref, &err), &err);
    left = copy_store(store);
    close_image(img);
    byre_store_unref(store);

    assert_int_equal(flags_in_file(left), AUTO | IN_USE);
    img = open_image(left, BYRE_OPEN_WRITE, NULL);
    write_block(img, CLUSTER, 6);
    must(byre_bitmap_remove(img, "b", &err), &err);
    close_image(img);
    assert_sound(left);
    byre_store_unref(left);
}

/* ---- Opened again ---- */

static void test_reopen(void **state)
{
    struct byre_error err = { 0 };
    struct byre_store *store;
    struct byre *img = new_with_bitmap(&store);

    (void)state;
    for (int i = 1; i < 4; i++) {
        assert_int_equal(flags_in_file(store), AUTO | IN_USE);
        write_block(img, (uint64_t)i * CLUSTER, i);
        must(byre_reopen(img, 0, &err), &err);
        assert_int_equal(flags_in_file(store), AUTO);
        assert_int_equal(dirty_bytes(img), (i + 1) * CLUSTER);
        must(byre_reopen(img, BYRE_OPEN_WRITE, &err), &err);
    }
    close_image(img);
    assert_sound(store);
    byre_store_unref(store);
}

/* ---- Commit ---- */

/* The overlay goes on being written when it is empty. */
static void test_commit(void **state)
{
    static const struct byre_snapshot_ref ref = { .name = "s" };
    struct byre_store *base_store = new_image(DISK_BYTES, CLUSTER), *store;
    struct byre *base = open_image(base_store, 0, NULL), *img;
    struct byre_error err = { 0 };

    (void)state;
    for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
        struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
        struct byre_job *job = NULL;

        store = new_store();
        opts.virtual_size_bytes = DISK_BYTES;
        opts.cluster_size_bytes = CLUSTER;
        opts.flags = BYRE_CREATE_BACKING_UNCHECKED;
        opts.backing_name = "base";
        opts.backing_format = "qcow2";
        must(byre_create_store(store, &opts, &err), &err);
        img = open_image(store, BYRE_OPEN_WRITE, base);
        must(byre_bitmap_add(img, "b", CLUSTER, 0, &err), &err);
        must(byre_bitmap_store(img, &err), &err);
        write_block(img, CLUSTER, 2);
        if (with_snapshot)
            snapshot(img, "s");
        write_block(img, 2 * CLUSTER, 3);
        must(byre_commit(img, NULL, &job, &err), &err);
        must(byre_job_run(job, &err), &err);
        byre_job_free(job);

        assert_int_equal(flags_in_file(store), AUTO | IN_USE);
        write_block(img, 3 * CLUSTER, 4);
        must(byre_flush(img, &err), &err);
        assert_int_equal(flags_in_file(store), AUTO | IN_USE);
        assert_int_equal(dirty_bytes(img), 3 * CLUSTER);
        assert_int_equal(block_at(base, CLUSTER), 2);
        assert_int_equal(block_at(img, 2 * CLUSTER), 3);
        if (with_snapshot) {
            must(byre_snapshot_apply(img, &ref, &err), &err);
            assert_int_equal(block_at(img, CLUSTER), 2);
            assert_int_equal(dirty_bytes(img), DISK_BYTES);
        }
        close_image(img);
        assert_sound(store);
        byre_store_unref(store);
    }
    close_image(base);
    byre_store_unref(base_store);
}

/* ---- Failures ---- */

static int name_backing(struct byre *img, struct byre_error *err)
{
    return byre_set_backing(img, "a name", "qcow2", NULL,
                            BYRE_BACKING_UNCHECKED, err);
}

static int make_lazy(struct byre *img, struct byre_error *err)
{
    return amend(img, &amendments[1], err);
}

static int store_bitmaps(struct byre *img, struct byre_error *err)
{
    return byre_bitmap_store(img, err);
}

/* Whether the new head has arrived nobody knows: nothing may be written. */
static void test_failing_head(void **state)
{
    static int (*const calls[])(struct byre * img, struct byre_error * err) = {
        name_backing, make_lazy, store_bitmaps
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        bool failed = true;

        for (uint64_t n = 1; failed; n++) {
            const struct fault fault = { .nth = n }, none = { 0 };
            struct byre_store *store = new_image(DISK_BYTES, CLUSTER), *faulty;
            struct byre_error err = { 0 };
            struct faults faults;
            struct byre *img;
            uint8_t before[CLUSTER], after[CLUSTER];

            faults_init(&faults);
            must(fault_store_new(store, &faults, &faulty, &err), &err);
            img = open_image(faulty, BYRE_OPEN_WRITE, NULL);
            if (calls[i] == store_bitmaps)
                must(byre_bitmap_add(img, "b", CLUSTER, 0, &err), &err);
            must(byre_flush(img, &err), &err);
            must(store_read(store, 0, before, CLUSTER, &err), &err);
            faults_set(&faults, FAULT_ANY, &fault);
            failed = calls[i](img, &err) < 0;
            assert_true(failed == (faults_failed(&faults) > 0));
            faults_set(&faults, FAULT_ANY, &none);
            must(store_read(store, 0, after, CLUSTER, &err), &err);
            if (failed && memcmp(before, after, CLUSTER) != 0)
                assert_int_equal(byre_write(img, 0, "x", 1, 0, &err),
                                 BYRE_E_STATE);
            byre_close(img, NULL);
            byre_store_unref(faulty);
            byre_store_unref(store);
        }
    }
}

/*
 * A deletion that fails while it corrects flags has corrected some of them: the
 * next snapshot must find those, or writes would go on into its tables.
 */
static void test_failing_flags(void **state)
{
    static const struct byre_snapshot_ref ref = { .name = "s" };
    bool failed = true;

    (void)state;
    for (uint64_t n = 1; failed; n++) {
        const struct fault fault = { .nth = n, .flags = FAULT_PERSISTS };
        const struct fault none = { 0 };
        struct byre_store *store = new_image(DISK_BYTES, 512), *faulty;
        struct byre_error err = { 0 };
        struct faults faults;
        struct byre *img;

        faults_init(&faults);
        must(fault_store_new(store, &faults, &faulty, &err), &err);
        img = open_image(faulty, BYRE_OPEN_WRITE, NULL);
        for (uint64_t at = 0; at < DISK_BYTES; at += 8 * CLUSTER)
            write_block(img, at, 1);
        snapshot(img, "s");
        faults_set(&faults, FAULT_WRITE, &fault);
        failed = byre_snapshot_delete(img, &ref, 1, &err) < 0;
        faults_set(&faults, FAULT_WRITE, &none);
        if (byre_flush(img, &err) == BYRE_OK) {
            snapshot(img, "t");
            must(byre_reopen(img, 0, &err), &err);
            must(byre_reopen(img, BYRE_OPEN_WRITE, &err), &err);
            for (uint64_t at = 0; at < DISK_BYTES; at += 8 * CLUSTER)
                write_block(img, at, 2);
        }
        byre_close(img, NULL);
        assert_no_damage(store, failed);
        byre_store_unref(faulty);
        byre_store_unref(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amend),
        cmocka_unit_test(test_no_older_version),
        cmocka_unit_test(test_longer_and_older),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_apply_and_crash),
        cmocka_unit_test(test_reopen),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_failing_head),
        cmocka_unit_test(test_failing_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
