/* SPDX-License-Identifier: MIT */
/*
 * Without these commit could write into the wrong image or depend on how many
 * work, and rebase could copy what both chains have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "store/store.h"

#define CLUSTER    4096
#define CLUSTERS   64
#define DISK_BYTES (CLUSTERS * CLUSTER)

/* Three images, the lowest first; cluster i of layer n holds 16 * n + 1. */
struct chain {
    struct byre_store *stores[3];
    struct byre *images[3];
};

static void must(int r, const struct byre_error *err)
{
    if (r < 0)
        fail_msg("%s", err->message);
}

static void write_cluster(struct byre *img, int index, int byte)
{
    struct byre_error err = { 0 };
    uint8_t block[CLUSTER];

    memset(block, byte, sizeof(block));
    must(byre_write(img, (uint64_t)index * CLUSTER, block, CLUSTER, 0, &err),
         &err);
}

static int cluster_of(struct byre *img, int index)
{
    struct byre_error err = { 0 };
    uint8_t block[CLUSTER];

    must(byre_read(img, (uint64_t)index * CLUSTER, block, CLUSTER, &err), &err);
    assert_int_equal(block[0], block[CLUSTER - 1]);
    return block[0];
}

static struct byre *open_layer(struct byre_store *store, uint32_t flags,
                               struct byre *backing)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *img;

    opts.format = "qcow2";
    opts.flags = flags;
    opts.backing = backing;
    must(byre_open_store(store, "layer", &opts, &img, &err), &err);
    return img;
}

static void make_layer(struct chain *chain, int n, uint64_t bytes)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *below = n > 0 ? chain->images[n - 1] : NULL;
    struct byre *img;

    opts.virtual_size_bytes = bytes;
    opts.cluster_size_bytes = CLUSTER;
    if (n > 0) {
        opts.flags = BYRE_CREATE_BACKING_UNCHECKED;
        opts.backing_name = "below";
        opts.backing_format = "qcow2";
    }
    must(byre_store_new_memory(NULL, 0, &chain->stores[n], &err), &err);
    must(byre_create_store(chain->stores[n], &opts, &err), &err);
    img = open_layer(chain->stores[n], BYRE_OPEN_WRITE, below);
    for (int i = n; i < CLUSTERS && (uint64_t)i * CLUSTER < bytes;
         i += 3 * n + 1)
        write_cluster(img, i, 16 * n + 1);
    must(byre_close(img, &err), &err);
    chain->images[n] =
        open_layer(chain->stores[n], n == 2 ? BYRE_OPEN_WRITE : 0, below);
}

static void make_chain(struct chain *chain, uint64_t middle_bytes)
{
    make_layer(chain, 0, DISK_BYTES);
    make_layer(chain, 1, middle_bytes);
    make_layer(chain, 2, DISK_BYTES);
}

static void drop_chain(struct chain *chain)
{
    for (int i = 2; i >= 0; i--) {
        byre_close(chain->images[i], NULL);
        byre_store_unref(chain->stores[i]);
    }
}

static void read_disk(struct byre *img, int ret[CLUSTERS])
{
    for (int i = 0; i < CLUSTERS; i++)
        ret[i] = cluster_of(img, i);
}

static uint64_t own_bytes(struct byre *img)
{
    uint64_t sum = 0, offset = 0;

    while (offset < DISK_BYTES) {
        struct byre_extent extent;
        struct byre_error err = { 0 };
        size_t count;

        must(byre_extents(img, offset, DISK_BYTES - offset,
                          BYRE_EXTENTS_SHALLOW, &extent, 1, &count, &err),
             &err);
        sum += extent.flags & BYRE_EXTENT_ALLOCATED ? extent.length : 0;
        offset += extent.length;
    }
    return sum;
}

/* ---- Commit ---- */

static int commit(struct chain *chain, struct byre *base, uint32_t flags,
                  uint32_t workers, struct byre_error *err)
{
    struct byre_commit_options opts = BYRE_COMMIT_OPTIONS_INIT;
    struct byre_job *job = NULL;
    uint64_t done, total;
    int r;

    opts.base = base;
    opts.flags = flags;
    opts.workers = workers;
    r = byre_commit(chain->images[2], &opts, &job, err);
    if (r < 0)
        return r;
    r = byre_job_run(job, err);
    byre_job_progress(job, &done, &total);
    assert_int_equal(total, DISK_BYTES);
    if (r == BYRE_OK)
        assert_int_equal(done, total);
    byre_job_free(job);
    return r;
}

/* Into what it stands on, and empties it; or further down, and keeps it. */
static void into_which_base(void **state)
{
    const uint64_t lengths[] = { DISK_BYTES, DISK_BYTES / 2 };

    (void)state;
    for (int depth = 1; depth <= 2; depth++) {
        for (int shape = 0; shape < 2; shape++) {
            struct byre_error err = { 0 };
            int before[CLUSTERS], after[CLUSTERS];
            struct chain chain;

            make_chain(&chain, lengths[shape]);
            read_disk(chain.images[2], before);
            must(commit(&chain, chain.images[2 - depth], 0, 3, &err), &err);
            read_disk(chain.images[2], after);
            assert_memory_equal(before, after, sizeof(before));
            read_disk(chain.images[2 - depth], after);
            assert_memory_equal(before, after, sizeof(before));
            assert_true((own_bytes(chain.images[2]) == 0) == (depth == 1));
            drop_chain(&chain);
        }
    }
}

static void not_into_others(void **state)
{
    struct byre_error err = { 0 };
    struct chain chain, other;

    (void)state;
    make_chain(&chain, DISK_BYTES);
    make_chain(&other, DISK_BYTES);
    assert_int_equal(commit(&chain, other.images[0], 0, 1, &err),
                     BYRE_E_INVALID);
    assert_int_equal(commit(&chain, chain.images[2], 0, 1, &err),
                     BYRE_E_INVALID);
    assert_int_equal(commit(&chain, NULL, 8, 1, &err), BYRE_E_INVALID);
    must(byre_reopen(chain.images[2], 0, &err), &err);
    assert_int_equal(commit(&chain, NULL, 0, 1, &err), BYRE_E_STATE);
    must(commit(&chain, NULL, BYRE_COMMIT_KEEP, 1, &err), &err);
    drop_chain(&other);
    drop_chain(&chain);
}

static void the_same_for_any_workers(void **state)
{
    struct byre_error err = { 0 };
    uint64_t lengths[2];
    uint8_t *files[2];

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct chain chain;

        make_chain(&chain, DISK_BYTES);
        must(commit(&chain, NULL, 0, i == 0 ? 1 : 4, &err), &err);
        must(store_get_size(chain.stores[1], &lengths[i], &err), &err);
        files[i] = malloc((size_t)lengths[i]);
        assert_non_null(files[i]);
        must(store_read(chain.stores[1], 0, files[i], (size_t)lengths[i], &err),
             &err);
        drop_chain(&chain);
    }
    assert_int_equal(lengths[0], lengths[1]);
    assert_memory_equal(files[0], files[1], (size_t)lengths[0]);
    free(files[0]);
    free(files[1]);
}

static void canceled_it_keeps_all(void **state)
{
    struct byre_error err = { 0 };
    struct byre_job *job = NULL;
    int before[CLUSTERS], after[CLUSTERS];
    struct chain chain;

    (void)state;
    make_chain(&chain, DISK_BYTES);
    read_disk(chain.images[2], before);
    must(byre_commit(chain.images[2], NULL, &job, &err), &err);
    byre_job_cancel(job);
    assert_int_equal(byre_job_run(job, &err), BYRE_E_CANCELED);
    byre_job_free(job);
    assert_true(own_bytes(chain.images[2]) > 0);
    read_disk(chain.images[2], after);
    assert_memory_equal(before, after, sizeof(before));
    /* The base is open for reading again. */
    assert_int_equal(byre_write(chain.images[1], 0, "x", 1, 0, &err),
                     BYRE_E_STATE);
    must(commit(&chain, NULL, 0, 2, &err), &err);
    drop_chain(&chain);
}

/* ---- Rebase ---- */

static int rebase(struct chain *chain, struct byre *backing, uint32_t flags,
                  uint32_t workers, struct byre_error *err)
{
    struct byre_rebase_options opts = BYRE_REBASE_OPTIONS_INIT;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_job *job = NULL;
    int r;

    open.backing = backing;
    opts.flags = flags;
    opts.workers = workers;
    opts.backing_name = backing != NULL ? "other" : NULL;
    opts.backing_format = "qcow2";
    opts.backing_open = &open;
    r = byre_rebase(chain->images[2], &opts, &job, err);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    byre_job_free(job);
    return r;
}

/* Past the middle, which is copied; onto nothing; onto another again. */
static void the_disk_stays(void **state)
{
    (void)state;
    for (uint32_t flags = 0; flags <= BYRE_REBASE_COMPRESS;
         flags += BYRE_REBASE_COMPRESS) {
        struct byre_error err = { 0 };
        int before[CLUSTERS], after[CLUSTERS];
        struct chain chain;
        uint64_t own;

        make_chain(&chain, DISK_BYTES);
        own = own_bytes(chain.images[2]) + own_bytes(chain.images[1]);
        read_disk(chain.images[2], before);
        must(rebase(&chain, chain.images[0], flags, 3, &err), &err);
        read_disk(chain.images[2], after);
        assert_memory_equal(before, after, sizeof(before));
        assert_ptr_equal(byre_get_backing(chain.images[2]), chain.images[0]);
        assert_true(own_bytes(chain.images[2]) <= own);

        must(rebase(&chain, NULL, flags, 3, &err), &err);
        assert_null(byre_get_backing(chain.images[2]));
        must(rebase(&chain, chain.images[1], flags, 3, &err), &err);
        read_disk(chain.images[2], after);
        assert_memory_equal(before, after, sizeof(before));
        drop_chain(&chain);
    }
}

static void what_cannot_be(void **state)
{
    struct byre_rebase_options opts = BYRE_REBASE_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre_job *job = NULL;
    struct chain chain;

    (void)state;
    make_chain(&chain, DISK_BYTES);
    opts.backing_name = "other";
    assert_int_equal(byre_rebase(chain.images[2], &opts, &job, &err),
                     BYRE_E_INVALID);
    opts.backing_format = "qcow2";
    assert_int_equal(byre_rebase(chain.images[1], &opts, &job, &err),
                     BYRE_E_STATE);
    opts.flags = 8;
    assert_int_equal(byre_rebase(chain.images[2], &opts, &job, &err),
                     BYRE_E_INVALID);
    /* Itself, whose chain has no end then. */
    assert_true(rebase(&chain, chain.images[2], 0, 1, &err) < 0);
    drop_chain(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(into_which_base),
        cmocka_unit_test(not_into_others),
        cmocka_unit_test(the_same_for_any_workers),
        cmocka_unit_test(canceled_it_keeps_all),
        cmocka_unit_test(the_disk_stays),
        cmocka_unit_test(what_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
