/* SPDX-License-Identifier: MIT */
/*
 * Without these, a cluster could be handed out twice, or while the disk or a
 * reader still points to it: one file's bytes in another.
 */
#include <errno.h>

#include "allocator_fixture.h"
#include "base/workers.h"
#include "qcow2/allocator_internal.h"

/* ---- Counting ---- */

/* Who has which cluster, as the test believes. */
struct model {
    uint8_t *counts;
    uint64_t clusters;
};

static void model_init(struct model *m, uint64_t clusters)
{
    m->counts = calloc(clusters, 1);
    m->clusters = clusters;
}

static void model_add(struct model *m, uint64_t cluster, uint64_t clusters)
{
    for (uint64_t i = cluster; i < cluster + clusters; i++) {
        assert_true(i < m->clusters);
        assert_int_equal(m->counts[i], 0);
        m->counts[i] = 1;
    }
}

/* The file counts what the model has, its own structures, and nothing else. */
static void check_disk(struct fixture *f, const struct model *m)
{
    struct disk_counts d = { 0 };

    assert_true(disk_counts_read(f->store, &d));
    assert_true(disk_counts_take_metadata(&d));
    for (uint64_t i = 0; i < max_u64(m->clusters, d.clusters); i++) {
        const uint64_t want = i < m->clusters ? m->counts[i] : 0;

        if (disk_count(&d, i) != want)
            print_error("cluster %llu\n", (unsigned long long)i);
        assert_int_equal(disk_count(&d, i), want);
    }
    disk_counts_done(&d);
}

/* A file that is longer than the image counts, with stale bytes. */
static struct byre_store *stale_store(uint32_t order)
{
    struct byre_store *store = minimal_store(9, order);
    uint8_t stale[4096];

    memset(stale, 0xff, sizeof(stale));
    for (uint64_t at = FIXTURE_USED * 512; at < 6 << 20; at += sizeof(stale))
        assert_int_equal(store_write(store, at, stale, sizeof(stale), NULL),
                         BYRE_OK);
    return store;
}

/* Takes runs of all lengths until `growths` larger tables were made. */
static void grow_and_count(uint32_t order, unsigned growths)
{
    uint64_t table = 0, taken = 0;
    struct fixture f;
    struct model m;

    assert_int_equal(fixture_open(&f, stale_store(order), 0, NULL), BYRE_OK);
    model_init(&m, UINT64_C(1) << 20);
    for (uint64_t i = 0; growths > 0; i++) {
        struct host_run run;

        assert_int_equal(
            allocator_take(f.allocator, i * 7 % 3000 + 1, &run, NULL), BYRE_OK);
        assert_true(run.clusters >= 1 && run.clusters <= i * 7 % 3000 + 1);
        assert_int_equal(
            metadata_check(&f.metadata, run.offset, run.clusters << 9, NULL),
            BYRE_OK);
        model_add(&m, run.offset >> 9, run.clusters);
        taken += run.clusters;
        if (i % 16 != 0)
            continue;
        assert_int_equal(flush(&f, NULL), BYRE_OK);
        if (table != f.qcow2.header.refcount_table_offset && table != 0)
            growths--;
        table = f.qcow2.header.refcount_table_offset;
    }
    flush_until_clean(&f);
    assert_true(taken > UINT64_C(4000));
    check_disk(&f, &m);
    free(m.counts);
    fixture_done(&f);
}

static void test_widths_grow(void **state)
{
    (void)state;
    grow_and_count(6, 4);
    grow_and_count(5, 3);
    grow_and_count(4, 3);
    grow_and_count(3, 2);
    grow_and_count(2, 1);
    grow_and_count(1, 1);
    grow_and_count(0, 1);
}

/* What was written is what the next program finds. */
static void test_reopening(void **state)
{
    struct fixture f;
    struct model m;
    struct host_run run;

    (void)state;
    fixture_init(&f, 9, 6);
    model_init(&m, 1 << 16);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 40; i++) {
            assert_int_equal(allocator_take(f.allocator, 50, &run, NULL),
                             BYRE_OK);
            model_add(&m, run.offset >> 9, run.clusters);
        }
        flush_until_clean(&f);
        store_ref(f.store);
        fixture_done(&f);
        assert_int_equal(fixture_open(&f, f.store, 0, NULL), BYRE_OK);
    }
    check_disk(&f, &m);
    free(m.counts);
    fixture_done(&f);
}

static void test_whole_runs(void **state)
{
    static const uint64_t sizes[] = { 1, 60, 64, 65, 700, 5000, 3, 9000 };
    struct host_run run, small;
    struct fixture f;
    struct model m;

    (void)state;
    fixture_init(&f, 9, 6);
    model_init(&m, 1 << 17);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(allocator_take_all(f.allocator, sizes[i], &run, NULL),
                         BYRE_OK);
        assert_int_equal(run.clusters, sizes[i]);
        model_add(&m, run.offset >> 9, run.clusters);
        assert_int_equal(allocator_take(f.allocator, 1, &small, NULL), BYRE_OK);
        model_add(&m, small.offset >> 9, 1);
    }
    flush_until_clean(&f);
    check_disk(&f, &m);
    free(m.counts);
    fixture_done(&f);
}

/* A whole run skips a gap that is too small; single clusters still use it. */
static void test_gaps(void **state)
{
    struct host_run run, all, one;
    struct fixture f;

    (void)state;
    fixture_init(&f, 9, 4);
    assert_int_equal(allocator_take(f.allocator, 20, &run, NULL), BYRE_OK);
    assert_int_equal(run.clusters, 20);
    assert_int_equal(
        allocator_give_back(f.allocator, run.offset + 512 * 5, 512 * 3, NULL),
        BYRE_OK);
    assert_int_equal(allocator_take_all(f.allocator, 4, &all, NULL), BYRE_OK);
    assert_int_equal(all.offset, run.offset + 20 * 512);
    assert_int_equal(allocator_take(f.allocator, 9, &one, NULL), BYRE_OK);
    assert_int_equal(one.offset, run.offset + 5 * 512);
    assert_int_equal(one.clusters, 3);
    fixture_done(&f);
}

static void test_reads_zero(void **state)
{
    struct host_run run;
    struct fixture f;

    (void)state;
    fixture_init(&f, 9, 4);
    assert_int_equal(
        store_write(f.store, FIXTURE_USED * 512 + 700, "x", 1, NULL), BYRE_OK);
    store_ref(f.store);
    fixture_done(&f);
    assert_int_equal(fixture_open(&f, f.store, 0, NULL), BYRE_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(allocator_take(f.allocator, 1, &run, NULL), BYRE_OK);
        assert_int_equal(run.reads_zero, i >= 2);
    }
    assert_int_equal(allocator_give_back(f.allocator, run.offset, 512, NULL),
                     BYRE_OK);
    assert_int_equal(allocator_take(f.allocator, 1, &run, NULL), BYRE_OK);
    assert_false(run.reads_zero);
    fixture_done(&f);
}

/* ---- Threads ---- */

static struct fixture *shared;
static atomic_uchar *owners;
static atomic_int trouble;

#define SHARED_CLUSTERS (1u << 17)

static void take_and_give(void *user)
{
    uint64_t random = (uintptr_t)&random;

    (void)user;
    for (int i = 0; i < 400; i++) {
        struct host_run run;
        uint64_t n;
        int r;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        n = (random >> 40) % 40 + 1;
        r = i % 5 == 0 ? allocator_take_all(shared->allocator, n, &run, NULL)
                       : allocator_take(shared->allocator, n, &run, NULL);
        if (r < 0) {
            atomic_store(&trouble, 1);
            return;
        }
        for (uint64_t c = 0; c < run.clusters; c++) {
            if (atomic_exchange(&owners[(run.offset >> 9) + c], 1) != 0)
                atomic_store(&trouble, 2);
        }
        if (i % 3 != 0)
            continue;
        for (uint64_t c = 0; c < run.clusters; c++)
            atomic_store(&owners[(run.offset >> 9) + c], 0);
        r = i % 2 == 0 ? allocator_give_back(shared->allocator, run.offset,
                                             run.clusters << 9, NULL)
                       : allocator_release(shared->allocator, run.offset,
                                           run.clusters << 9, 0, NULL);
        if (r < 0)
            atomic_store(&trouble, 3);
    }
}

static atomic_uint next_worker;

/* The first worker flushes, the others allocate. */
static void work(void *user)
{
    if (atomic_fetch_add(&next_worker, 1) != 0) {
        take_and_give(user);
        return;
    }
    for (int i = 0; i < 60; i++) {
        if (flush(shared, NULL) < 0)
            atomic_store(&trouble, 4);
    }
}

static void test_threads_get_disjoint_runs(void **state)
{
    struct fixture f;
    struct model m;

    (void)state;
    fixture_init(&f, 9, 6);
    shared = &f;
    owners = calloc(SHARED_CLUSTERS, sizeof(*owners));
    workers_run(4, work, NULL);
    assert_int_equal(atomic_load(&trouble), 0);
    flush_until_clean(&f);
    model_init(&m, SHARED_CLUSTERS);
    for (uint64_t i = 0; i < SHARED_CLUSTERS; i++)
        m.counts[i] = atomic_load(&owners[i]);
    check_disk(&f, &m);
    free(m.counts);
    free(owners);
    fixture_done(&f);
}

/* ---- Limits ---- */

static void test_device_is_full(void **state)
{
    struct byre_store *store = minimal_store(9, 4);
    struct byre_error err;
    struct host_run run;
    struct fixture f;

    (void)state;
    store->identity.is_device = true;
    assert_int_equal(store_resize(store, 10 * 512, NULL), BYRE_OK);
    assert_int_equal(fixture_open(&f, store, 0, NULL), BYRE_OK);
    assert_int_equal(allocator_take_all(f.allocator, 7, &run, &err), BYRE_E_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_int_equal(allocator_take(f.allocator, 100, &run, NULL), BYRE_OK);
    assert_int_equal(run.clusters, 6);
    assert_false(run.reads_zero);
    assert_int_equal(allocator_take(f.allocator, 1, &run, &err), BYRE_E_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    fixture_done(&f);
}

static void test_table_has_a_limit(void **state)
{
    struct byre_error err;
    struct host_run run;
    struct fixture f;

    (void)state;
    fixture_init(&f, 9, 6);
    f.allocator->hint = QCOW2_MAX_REFCOUNT_TABLE_BYTES / 8 * 64;
    assert_int_equal(allocator_take(f.allocator, 1, &run, &err), BYRE_E_LIMIT);
    assert_non_null(strstr(err.message, "refcount table"));
    f.allocator->hint = f.allocator->end_cluster - 5;
    assert_int_equal(allocator_take_all(f.allocator, 6, &run, &err),
                     BYRE_E_LIMIT);
    fixture_done(&f);
}

/* A table that jumps far has room for its blocks, and nothing is lost. */
static void test_table_jumps(void **state)
{
    struct host_run far, near;
    struct fixture f;
    struct model m;

    (void)state;
    fixture_init(&f, 9, 6);
    model_init(&m, 1 << 16);
    f.allocator->hint = 20000;
    assert_int_equal(allocator_take(f.allocator, 1, &far, NULL), BYRE_OK);
    model_add(&m, far.offset >> 9, far.clusters);
    assert_true(far.offset >= 20000 * 512);
    f.allocator->hint = FIXTURE_USED;
    assert_int_equal(allocator_take(f.allocator, 100, &near, NULL), BYRE_OK);
    model_add(&m, near.offset >> 9, near.clusters);
    assert_int_equal(near.offset, FIXTURE_USED * 512);
    flush_until_clean(&f);
    assert_true(f.qcow2.header.refcount_table_clusters >= 20000 / 64 / 64);
    check_disk(&f, &m);
    free(m.counts);
    fixture_done(&f);
}

/* ---- Images that lie ---- */

struct lie {
    const char *name;
    uint64_t offset;
    uint64_t value;
};

static void test_lies_are_refused(void **state)
{
    /* clang-format off */
    static const struct lie lies[] = {
        { "a block past the end", 512 + 8, 1 << 20 },
        { "a block over the header's neighbour", 512 + 8, 512 },
        { "a block over the L1 table", 512 + 8, 3 * 512 },
        { "a block twice", 512 + 8, 2 * 512 },
        { "a block at 2^63", 512 + 8, UINT64_C(1) << 63 },
        { "no block at all", 512, 0 },
        { "the header counts as free", 1024, 0x0000000100010001 },
        { "the table counts as free", 1024, 0x0001000000010001 },
        { "the L1 table counts as free", 1024, 0x0001000100010000 },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct byre_store *store = minimal_store(9, 4);
        struct byre_error err;
        uint8_t raw[8];
        struct fixture f;
        int r;

        be64_put(raw, lies[i].value);
        store_write(store, lies[i].offset, raw, 8, NULL);
        r = fixture_open(&f, store, 0, &err);
        if (r != BYRE_E_CORRUPT)
            print_error("%s\n", lies[i].name);
        assert_int_equal(r, BYRE_E_CORRUPT);
        assert_non_null(strstr(err.message, "check"));
        fixture_done(&f);
    }
}

static void test_unaligned_block_is_refused(void **state)
{
    struct byre_store *store = minimal_store(12, 4);
    struct byre_error err;
    struct fixture f;
    uint8_t raw[8];

    (void)state;
    be64_put(raw, 2 * 4096 + 512);
    store_write(store, 4096, raw, 8, NULL);
    assert_int_equal(fixture_open(&f, store, 0, &err), BYRE_E_CORRUPT);
    assert_int_equal(err.offset, 4096);
    fixture_done(&f);
}

/* The block's own cluster is free by its count, and lies in the way. */
static void test_structures_are_not_handed_out(void **state)
{
    struct byre_store *store = minimal_store(9, 4);
    struct byre_error err;
    struct host_run run;
    struct fixture f;
    uint8_t raw[8];

    (void)state;
    be64_put(raw, UINT64_C(0x0001000100000001));
    store_write(store, 1024, raw, 8, NULL);
    assert_int_equal(fixture_open(&f, store, 0, NULL), BYRE_OK);
    assert_int_equal(allocator_take(f.allocator, 1, &run, &err),
                     BYRE_E_CORRUPT);
    assert_non_null(strstr(err.message, "refcount block"));
    assert_int_equal(allocator_take_all(f.allocator, 1, &run, &err),
                     BYRE_E_CORRUPT);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths_grow),
        cmocka_unit_test(test_reopening),
        cmocka_unit_test(test_whole_runs),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_reads_zero),
        cmocka_unit_test(test_threads_get_disjoint_runs),
        cmocka_unit_test(test_device_is_full),
        cmocka_unit_test(test_table_has_a_limit),
        cmocka_unit_test(test_table_jumps),
        cmocka_unit_test(test_lies_are_refused),
        cmocka_unit_test(test_unaligned_block_is_refused),
        cmocka_unit_test(test_structures_are_not_handed_out),
    };

    return cmocka_run_group_tests_name("allocator", tests, NULL, NULL);
}
