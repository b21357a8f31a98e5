/* SPDX-License-Identifier: MIT */
/*
 * Without this, memory that runs out in the middle of an allocation or a flush
 * could leave a cluster counted for nobody's use, or free in somebody's.
 */
#include "alloc_fault.h"
#include "allocator_fixture.h"

#define MAX_RUNS 512

static struct host_run runs[MAX_RUNS];
static size_t run_count;

static void own(struct host_run run)
{
    for (size_t i = 0; i < run_count; i++)
        assert_true(run.offset + run.clusters * 512 <= runs[i].offset ||
                    runs[i].offset + runs[i].clusters * 512 <= run.offset);
    assert_true(run_count < MAX_RUNS);
    runs[run_count++] = run;
}

/* Enough for blocks, a larger table and releases; failures are passed over. */
static void work(struct fixture *f)
{
    for (uint64_t i = 0; i < 120; i++) {
        struct host_run run;
        int r;

        r = i % 4 == 0 ? allocator_take_all(f->allocator, 70, &run, NULL)
                       : allocator_take(f->allocator, 60, &run, NULL);
        if (r == BYRE_OK)
            own(run);
        if (i % 3 == 0 && run_count > 0 &&
            allocator_release(f->allocator, runs[0].offset,
                              runs[0].clusters << 9, 0, NULL) == BYRE_OK)
            runs[0] = runs[--run_count];
        if (i % 10 == 9)
            flush(f, NULL);
    }
}

/* Nothing is in use that is not counted, and nothing else is. */
static void check_counts(struct fixture *f)
{
    struct disk_counts d = { 0 };

    assert_true(disk_counts_read(f->store, &d));
    assert_true(disk_counts_take_metadata(&d));
    for (size_t i = 0; i < run_count; i++) {
        for (uint64_t j = 0; j < runs[i].clusters; j++) {
            assert_int_equal(disk_count(&d, (runs[i].offset >> 9) + j), 1);
            d.counts[(runs[i].offset >> 9) + j] = 0;
        }
    }
    for (uint64_t i = 0; i < d.clusters; i++)
        assert_int_equal(d.counts[i], 0);
    disk_counts_done(&d);
}

/* Returns whether there were that many allocations. */
static bool fail_nth(uint64_t nth)
{
    struct fixture f;
    bool failed;

    run_count = 0;
    fixture_init(&f, 9, 6);
    alloc_fault_arm(nth);
    work(&f);
    failed = alloc_fault_disarm();
    flush_until_clean(&f);
    check_counts(&f);
    fixture_done(&f);
    return failed;
}

static void test_memory_runs_out(void **state)
{
    uint64_t nth = 1;

    (void)state;
    while (fail_nth(nth))
        nth++;
    assert_true(nth > 50);
}

static void test_memory_runs_out_at_open(void **state)
{
    uint64_t nth = 1;
    int r;

    (void)state;
    do {
        struct byre_store *store = minimal_store(9, 4);
        struct fixture f;

        fixture_prepare(&f, store);
        alloc_fault_arm(nth++);
        r = allocator_new(&f.qcow2, &f.metadata, &f.gate, 0, &f.allocator,
                          NULL);
        alloc_fault_disarm();
        assert_true(r == BYRE_OK || r == BYRE_E_NOMEM);
        fixture_done(&f);
    } while (r < 0);
    assert_true(nth > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_memory_runs_out_at_open),
    };

    return cmocka_run_group_tests_name("allocator_memory", tests, NULL, NULL);
}
