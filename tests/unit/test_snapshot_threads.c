/* SPDX-License-Identifier: MIT */
/*
 * Without this, a snapshot that is taken while others write could be of no
 * moment at all, or a write beside it be lost, or change it.
 *
 * Each thread writes a number to one of its sectors, then to another, and then
 * the next number: at each moment the second is the first or the one before.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "new_image.h"

#define WORKERS    4
#define ROUNDS     24
#define KEPT       5 /* snapshots at once */
#define SECTOR     512
#define DISK_BYTES (UINT64_C(1) << 20)

struct scene {
    struct byre *img;
    struct byre_store *store;
    atomic_bool over;
};

struct worker {
    struct scene *scene;
    unsigned index;
    uint64_t number; /* written last */
    pthread_t thread;
    int result;
    struct byre_error err;
};

/* Sectors that share clusters and tables with those of the others. */
static uint64_t place_of(unsigned index, bool second)
{
    return (index + (second ? UINT64_C(1000) : 0)) * SECTOR;
}

static int write_number(struct worker *worker, bool second, uint64_t number)
{
    uint64_t sector[SECTOR / 8];

    for (size_t i = 0; i < SECTOR / 8; i++)
        sector[i] = number;
    return byre_write(worker->scene->img, place_of(worker->index, second),
                      sector, SECTOR, 0, &worker->err);
}

static void *run_worker(void *user)
{
    struct worker *worker = user;

    while (worker->result == BYRE_OK && !atomic_load(&worker->scene->over)) {
        const uint64_t number = worker->number + 1;

        worker->result = write_number(worker, false, number);
        if (worker->result == BYRE_OK)
            worker->result = write_number(worker, true, number);
        worker->number = number;
        if (worker->result == BYRE_OK && worker->index == 0)
            worker->result = byre_flush(worker->scene->img, &worker->err);
    }
    return NULL;
}

static uint64_t number_at(struct byre *img, uint64_t offset)
{
    uint64_t sector[SECTOR / 8];

    assert_int_equal(byre_read(img, offset, sector, SECTOR, NULL), 0);
    for (size_t i = 1; i < SECTOR / 8; i++)
        assert_int_equal(sector[i], sector[0]);
    return sector[0];
}

/* One of a moment; `least` is what they have got to before. */
static void check_moment(struct byre *img, uint64_t *least)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        const uint64_t first = number_at(img, place_of(i, false));
        const uint64_t second = number_at(img, place_of(i, true));

        assert_true(first == second || first == second + 1);
        assert_true(first >= least[i]);
        least[i] = first;
    }
}

static void take(struct scene *scene, unsigned number)
{
    struct byre_snapshot_options opts = BYRE_SNAPSHOT_OPTIONS_INIT;
    struct byre_error err = { 0 };
    char name[16];

    snprintf(name, sizeof(name), "n%u", number);
    opts.name = name;
    if (byre_snapshot_create(scene->img, &opts, &err) < 0)
        fail_msg("%s", err.message);
}

static void delete (struct scene *scene, unsigned number)
{
    struct byre_error err = { 0 };
    char name[16];
    const struct byre_snapshot_ref ref = { .name = name };

    snprintf(name, sizeof(name), "n%u", number);
    if (byre_snapshot_delete(scene->img, &ref, 1, &err) < 0)
        fail_msg("%s", err.message);
}

static void open_scene(struct scene *scene, const char *snapshot)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };

    opts.flags = snapshot == NULL ? BYRE_OPEN_WRITE : 0;
    opts.format = "qcow2";
    opts.snapshot_name = snapshot;
    opts.table_cache_bytes = 1;
    opts.refcount_cache_bytes = 1;
    if (byre_open_store(scene->store, NULL, &opts, &scene->img, &err) < 0)
        fail_msg("%s", err.message);
}

static void run_together(struct scene *scene, struct worker *workers)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){ .scene = scene, .index = i };
        assert_int_equal(
            pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]),
            0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        take(scene, i);
        if (i >= KEPT)
            delete (scene, i - KEPT);
    }
    atomic_store(&scene->over, true);
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].result < 0)
            fail_msg("%s", workers[i].err.message);
    }
}

static void test_threads(void **state)
{
    static const uint64_t clusters[] = { 512, 4096, 65536 };

    (void)state;
    for (size_t c = 0; c < sizeof(clusters) / sizeof(clusters[0]); c++) {
        struct scene scene = { .store = new_image(DISK_BYTES, clusters[c]) };
        struct worker workers[WORKERS];
        uint64_t least[WORKERS] = { 0 };

        open_scene(&scene, NULL);
        run_together(&scene, workers);
        for (unsigned i = 0; i < WORKERS; i++)
            for (int second = 0; second < 2; second++)
                assert_int_equal(number_at(scene.img, place_of(i, second)),
                                 workers[i].number);
        assert_int_equal(byre_close(scene.img, NULL), 0);
        for (unsigned i = ROUNDS - KEPT; i < ROUNDS; i++) {
            char name[16];

            snprintf(name, sizeof(name), "n%u", i);
            open_scene(&scene, name);
            check_moment(scene.img, least);
            assert_int_equal(byre_close(scene.img, NULL), 0);
        }
        byre_store_unref(scene.store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
