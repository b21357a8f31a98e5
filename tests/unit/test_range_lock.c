/* SPDX-License-Identifier: MIT */
/*
 * Without these, two writes could copy the same cluster at once and one of them
 * be lost, or writes could wait for one another for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/workers.h"
#include "engine/range_lock.h"

static void test_ranges_that_do_not_touch_are_free(void **state)
{
    struct range_locks locks;
    struct range_lock a, b, c;

    (void)state;
    range_locks_init(&locks);
    range_lock_take(&locks, &a, 0, 10, false);
    range_lock_take(&locks, &b, 10, 5, false);
    range_lock_take(&locks, &c, 100, 1, false);
    range_lock_drop(&locks, &b);
    range_lock_drop(&locks, &a);
    range_lock_drop(&locks, &c);
    assert_null(locks.first);
    range_locks_done(&locks);
}

static void test_shared_ones_share(void **state)
{
    struct range_locks locks;
    struct range_lock a, b;

    (void)state;
    range_locks_init(&locks);
    range_lock_take(&locks, &a, 0, 10, true);
    range_lock_take(&locks, &b, 5, 10, true);
    range_lock_drop(&locks, &a);
    range_lock_drop(&locks, &b);
    range_locks_done(&locks);
}

#define CELLS 8

struct cells {
    struct range_locks locks;
    atomic_uint started;
    int values[CELLS]; /* each guarded by its range alone */
    atomic_int readers[CELLS];
    atomic_int wrong;
};

static void change_some(struct cells *cells, unsigned first, unsigned count)
{
    struct range_lock lock;

    range_lock_take(&cells->locks, &lock, first, count, false);
    for (unsigned i = first; i < first + count; i++) {
        if (atomic_load(&cells->readers[i]) != 0)
            atomic_store(&cells->wrong, 1);
        cells->values[i]++;
    }
    range_lock_drop(&cells->locks, &lock);
}

static void look_at_some(struct cells *cells, unsigned first, unsigned count)
{
    struct range_lock lock;

    range_lock_take(&cells->locks, &lock, first, count, true);
    for (unsigned i = first; i < first + count; i++)
        atomic_fetch_add(&cells->readers[i], 1);
    for (unsigned i = first; i < first + count; i++)
        atomic_fetch_sub(&cells->readers[i], 1);
    range_lock_drop(&cells->locks, &lock);
}

static void cells_work(void *user)
{
    struct cells *cells = user;
    unsigned seed = atomic_fetch_add(&cells->started, 1) + 1;

    for (int i = 0; i < 5000; i++) {
        unsigned first, count;

        seed = seed * 1103515245u + 12345u;
        first = (seed >> 16) % CELLS;
        count = 1 + (seed >> 24) % (CELLS - first);
        if (i % 4 == 3)
            look_at_some(cells, first, count);
        else
            change_some(cells, first, count);
    }
}

static void test_each_range_has_one_holder(void **state)
{
    struct cells cells = { 0 };

    (void)state;
    range_locks_init(&cells.locks);
    workers_run(4, cells_work, &cells);
    assert_int_equal(atomic_load(&cells.wrong), 0);
    assert_null(cells.locks.first);
    range_locks_done(&cells.locks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_that_do_not_touch_are_free),
        cmocka_unit_test(test_shared_ones_share),
        cmocka_unit_test(test_each_range_has_one_holder),
    };

    return cmocka_run_group_tests_name("range_lock", tests, NULL, NULL);
}
