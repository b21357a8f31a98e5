/* SPDX-License-Identifier: MIT */
/*
 * Without these an image that is opened for writing, or for reading only, while
 * others read it could lose bytes, show somebody else's, or leave its file
 * without a lock.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "byre.h"
#include "store/fault.h"

#define DISK_BYTES (256 * 1024)
#define CLUSTER    4096
#define ROUNDS     60
#define READERS    3

static const char *const formats[] = { "qcow2", "qcow", "raw" };

static struct byre_store *new_image(const char *format, const char *backing,
                                    const char *backing_format)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store;

    assert_int_equal(byre_store_new_memory(NULL, 0, &store, NULL), 0);
    opts.format = format;
    opts.virtual_size_bytes = DISK_BYTES;
    if (strcmp(format, "qcow2") == 0)
        opts.cluster_size_bytes = CLUSTER;
    if (backing != NULL) {
        opts.flags = BYRE_CREATE_BACKING_UNCHECKED;
        opts.backing_name = backing;
        opts.backing_format = backing_format;
    }
    assert_int_equal(byre_create_store(store, &opts, NULL), 0);
    return store;
}

static struct byre *open_image(struct byre_store *store, const char *format,
                               uint32_t flags, struct byre *backing)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *img = NULL;

    opts.format = format;
    opts.flags = flags;
    opts.backing = backing;
    opts.table_cache_bytes = 1;
    if (byre_open_store(store, "image", &opts, &img, &err) < 0)
        fail_msg("%s: %s", format, err.message);
    return img;
}

static void must(int r, const struct byre_error *err)
{
    if (r < 0)
        fail_msg("%s", err->message);
}

static void write_block(struct byre *img, uint64_t offset, int byte)
{
    struct byre_error err = { 0 };
    uint8_t block[CLUSTER];

    memset(block, byte, sizeof(block));
    must(byre_write(img, offset, block, sizeof(block), 0, &err), &err);
}

static void check_block(struct byre *img, uint64_t offset, int byte)
{
    struct byre_error err = { 0 };
    uint8_t block[CLUSTER];

    must(byre_read(img, offset, block, sizeof(block), &err), &err);
    for (size_t i = 0; i < sizeof(block); i++)
        assert_int_equal(block[i], byte);
}

/* ---- There and back ---- */

static void both_ways_in_every_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct byre_store *store = new_image(formats[i], NULL, NULL);
        struct byre *img = open_image(store, formats[i], 0, NULL);
        struct byre_error err = { 0 };

        assert_int_equal(byre_write(img, 0, "x", 1, 0, &err), BYRE_E_STATE);
        for (int round = 1; round < 6; round++) {
            must(byre_reopen(img, BYRE_OPEN_WRITE, &err), &err);
            write_block(img, (uint64_t)round * CLUSTER, round);
            check_block(img, (uint64_t)round * CLUSTER, round);
            must(byre_reopen(img, 0, &err), &err);
            assert_int_equal(byre_write(img, 0, "x", 1, 0, &err), BYRE_E_STATE);
            assert_int_equal(byre_flush(img, &err), BYRE_E_STATE);
        }
        for (int round = 1; round < 6; round++)
            check_block(img, (uint64_t)round * CLUSTER, round);
        must(byre_close(img, &err), &err);

        /* What ended writing has flushed it. */
        img = open_image(store, formats[i], 0, NULL);
        for (int round = 1; round < 6; round++)
            check_block(img, (uint64_t)round * CLUSTER, round);
        byre_close(img, NULL);
        byre_store_unref(store);
    }
}

static void twice_is_once(void **state)
{
    struct byre_store *store = new_image("qcow2", NULL, NULL);
    struct byre *img = open_image(store, "qcow2", 0, NULL);
    struct byre_error err = { 0 };

    (void)state;
    must(byre_reopen(img, 0, &err), &err);
    must(byre_reopen(img, BYRE_OPEN_WRITE, &err), &err);
    write_block(img, 0, 7);
    must(byre_reopen(img, BYRE_OPEN_WRITE | BYRE_OPEN_KEEP_SPACE, &err), &err);
    check_block(img, 0, 7);
    must(byre_close(img, &err), &err);
    byre_store_unref(store);
}

/* ---- Refusals ---- */

static void what_cannot_be_written(void **state)
{
    struct byre_store *store = new_image("qcow2", NULL, NULL);
    struct byre_error err = { 0 };
    struct byre *img;

    (void)state;
    assert_int_equal(byre_reopen(NULL, 0, &err), BYRE_E_INVALID);
    img = open_image(store, "qcow2", BYRE_OPEN_SHARED, NULL);
    assert_int_equal(byre_reopen(img, BYRE_OPEN_WRITE, &err), BYRE_E_STATE);
    assert_int_equal(byre_reopen(img, BYRE_OPEN_SHARED, &err), BYRE_E_INVALID);
    byre_close(img, NULL);
    img = open_image(store, "qcow2", BYRE_OPEN_METADATA_ONLY, NULL);
    assert_int_equal(byre_reopen(img, BYRE_OPEN_WRITE, &err), BYRE_E_STATE);
    byre_close(img, NULL);
    byre_store_unref(store);
}

/* A flush that fails at the end of writing: what was written reads on, and the
   handle does not write any more. */
static void a_failed_end(void **state)
{
    struct byre_store *store = new_image("qcow2", NULL, NULL), *faulty;
    const struct fault every_flush = { .nth = 1, .flags = FAULT_PERSISTS };
    const struct fault none = { 0 };
    struct byre_error err = { 0 };
    struct faults faults;
    struct byre *img;

    (void)state;
    faults_init(&faults);
    must(fault_store_new(store, &faults, &faulty, &err), &err);
    img = open_image(faulty, "qcow2", BYRE_OPEN_WRITE, NULL);
    for (int i = 0; i < 40; i++)
        write_block(img, (uint64_t)i * CLUSTER, i + 1);
    faults_set(&faults, FAULT_FLUSH, &every_flush);
    assert_true(byre_reopen(img, 0, &err) < 0);
    faults_set(&faults, FAULT_FLUSH, &none);
    for (int i = 0; i < 40; i++)
        check_block(img, (uint64_t)i * CLUSTER, i + 1);
    assert_int_equal(byre_write(img, 0, "x", 1, 0, &err), BYRE_E_STATE);
    assert_int_equal(byre_reopen(img, BYRE_OPEN_WRITE, &err), BYRE_E_STATE);
    byre_close(img, NULL);
    byre_store_unref(faulty);
    byre_store_unref(store);
}

/* ---- Files ---- */

#define PATH_SIZE 64

static void scratch_path(char path[PATH_SIZE], const char *name)
{
    snprintf(path, PATH_SIZE, "/tmp/byre-test-reopen-%ld-%s", (long)getpid(),
             name);
}

static struct byre *open_file(const char *path, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *img = NULL;

    opts.flags = flags;
    opts.format = "qcow2";
    must(byre_open(path, &opts, &img, &err), &err);
    return img;
}

static int try_open(const char *path, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre *img = NULL;
    int r;

    opts.flags = flags;
    opts.format = "qcow2";
    r = byre_open(path, &opts, &img, NULL);
    byre_close(img, NULL);
    return r;
}

static void locks_follow(void **state)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *img, *other;
    char path[PATH_SIZE];

    (void)state;
    scratch_path(path, "locked");
    create.virtual_size_bytes = DISK_BYTES;
    must(byre_create(path, &create, &err), &err);
    img = open_file(path, 0);
    assert_int_equal(try_open(path, 0), 0);
    must(byre_reopen(img, BYRE_OPEN_WRITE, &err), &err);
    write_block(img, 0, 5);
    assert_int_equal(try_open(path, 0), BYRE_E_LOCKED);
    must(byre_reopen(img, 0, &err), &err);
    assert_int_equal(try_open(path, 0), 0);
    assert_int_equal(try_open(path, BYRE_OPEN_WRITE), BYRE_E_LOCKED);

    /* Somebody reads: nobody writes, and who asked goes on reading. */
    other = open_file(path, 0);
    assert_int_equal(byre_reopen(img, BYRE_OPEN_WRITE, &err), BYRE_E_LOCKED);
    check_block(img, 0, 5);
    byre_close(other, NULL);
    must(byre_reopen(img, BYRE_OPEN_WRITE, &err), &err);
    must(byre_close(img, &err), &err);
    assert_int_equal(try_open(path, BYRE_OPEN_WRITE), 0);
    unlink(path);
}

static void not_behind_a_descriptors_back(void **state)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    char path[PATH_SIZE];
    struct byre *img;
    int fd;

    (void)state;
    scratch_path(path, "descriptor");
    create.virtual_size_bytes = DISK_BYTES;
    must(byre_create(path, &create, &err), &err);
    opts.format = "qcow2";
    for (int i = 0; i < 2; i++) {
        fd = open(path, i == 0 ? O_RDONLY : O_RDWR);
        must(byre_open_fd(fd, path, &opts, &img, &err), &err);
        assert_int_equal(byre_reopen(img, BYRE_OPEN_WRITE, &err),
                         i == 0 ? BYRE_E_STATE : BYRE_OK);
        must(byre_close(img, &err), &err);
        close(fd);
    }
    unlink(path);
}

/* ---- Beside readers ---- */

struct chain {
    struct byre *bases[2];
    struct byre *top;
    atomic_bool over;
    atomic_int wrong;
};

/* Cluster i of all disks holds i + 1, whoever has it. */
static void *read_all(void *user)
{
    struct chain *chain = user;
    uint8_t block[CLUSTER];

    while (!atomic_load(&chain->over)) {
        for (int i = 0; i < DISK_BYTES / CLUSTER; i++) {
            if (byre_read(chain->top, (uint64_t)i * CLUSTER, block, CLUSTER,
                          NULL) < 0 ||
                block[0] != i + 1 || block[CLUSTER - 1] != i + 1)
                atomic_fetch_add(&chain->wrong, 1);
        }
    }
    return NULL;
}

static void fill(struct byre *img, int from, int step)
{
    for (int i = from; i < DISK_BYTES / CLUSTER; i += step)
        write_block(img, (uint64_t)i * CLUSTER, i + 1);
}

static void write_below(struct chain *chain, int round)
{
    struct byre_error err = { 0 };

    must(byre_reopen(chain->bases[0], BYRE_OPEN_WRITE, &err), &err);
    must(byre_discard(chain->bases[0], 0, CLUSTER, 0, &err), &err);
    fill(chain->bases[0], round % 3, 3);
    write_block(chain->bases[0], 0, 1);
    must(byre_reopen(chain->bases[0], 0, &err), &err);
}

static void change_chain(struct chain *chain, int round)
{
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };

    must(byre_reopen(chain->top, BYRE_OPEN_WRITE, &err), &err);
    fill(chain->top, round % 5, 5);
    open.backing = chain->bases[(round + 1) % 2];
    must(byre_set_backing(chain->top, round % 2 == 0 ? "other" : "base",
                          "qcow2", &open, 0, &err),
         &err);
    must(byre_reopen(chain->top, 0, &err), &err);
}

/* The first cluster is the top's, so that its place below may come and go. */
static void readers_see_one_disk(void **state)
{
    struct byre_store *stores[3];
    struct chain chain = { .wrong = 0 };
    struct byre_error err = { 0 };
    pthread_t threads[READERS];

    (void)state;
    for (int i = 0; i < 2; i++) {
        stores[i] = new_image("qcow2", NULL, NULL);
        chain.bases[i] = open_image(stores[i], "qcow2", BYRE_OPEN_WRITE, NULL);
        fill(chain.bases[i], 0, 1);
        must(byre_reopen(chain.bases[i], 0, &err), &err);
    }
    stores[2] = new_image("qcow2", "base", "qcow2");
    chain.top = open_image(stores[2], "qcow2", BYRE_OPEN_WRITE, chain.bases[0]);
    write_block(chain.top, 0, 1);
    must(byre_reopen(chain.top, 0, &err), &err);

    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &chain),
                         0);
    for (int round = 0; round < ROUNDS; round++) {
        write_below(&chain, round);
        change_chain(&chain, round);
    }
    atomic_store(&chain.over, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(chain.wrong, 0);

    must(byre_close(chain.top, &err), &err);
    for (int i = 0; i < 2; i++)
        must(byre_close(chain.bases[i], &err), &err);
    for (int i = 0; i < 3; i++)
        byre_store_unref(stores[i]);
}

/* ---- Names ---- */

static void what_is_recorded(void **state)
{
    struct byre_store *base_store = new_image("raw", NULL, NULL);
    struct byre_store *store = new_image("qcow2", NULL, NULL);
    struct byre *base = open_image(base_store, "raw", 0, NULL);
    struct byre *img = open_image(store, "qcow2", BYRE_OPEN_WRITE, NULL);
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err = { 0 };

    (void)state;
    open.backing = base;
    assert_int_equal(byre_set_backing(img, "", "raw", &open, 0, &err),
                     BYRE_E_INVALID);
    must(byre_set_backing(img, "below", "raw", &open, 0, &err), &err);
    must(byre_get_info(img, &info, &err), &err);
    assert_string_equal(info.backing_name, "below");
    assert_string_equal(info.backing_format, "raw");
    assert_ptr_equal(byre_get_backing(img), base);

    must(byre_set_backing(img, "/not/there", "qcow2", NULL,
                          BYRE_BACKING_UNCHECKED, &err),
         &err);
    assert_null(byre_get_backing(img));
    /* What is replaced whole needs nothing from below. */
    write_block(img, 0, 9);
    assert_int_equal(byre_write(img, CLUSTER, "x", 1, 0, &err), BYRE_E_STATE);

    assert_true(byre_set_backing(img, "/not/there", "qcow2", NULL, 0, &err) <
                0);
    must(byre_set_backing(img, NULL, NULL, NULL, 0, &err), &err);
    must(byre_get_info(img, &info, &err), &err);
    assert_null(info.backing_name);
    must(byre_write(img, CLUSTER, "x", 1, 0, &err), &err);
    must(byre_close(img, &err), &err);
    byre_close(base, NULL);
    byre_store_unref(store);
    byre_store_unref(base_store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_in_every_format),
        cmocka_unit_test(twice_is_once),
        cmocka_unit_test(what_cannot_be_written),
        cmocka_unit_test(a_failed_end),
        cmocka_unit_test(locks_follow),
        cmocka_unit_test(not_behind_a_descriptors_back),
        cmocka_unit_test(readers_see_one_disk),
        cmocka_unit_test(what_is_recorded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
