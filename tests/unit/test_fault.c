/* SPDX-License-Identifier: MIT */
/*
 * Without this test the fault store could fail the wrong call, or none, and
 * every fault loop above it would pass for nothing.
 */
#include <errno.h>
#include <pthread.h>

#include "store/fault.h"
#include "store_cases.h"

struct fixture {
    struct faults faults;
    struct byre_store *base;
    struct byre_store *store;
};

static void fixture_init(struct fixture *f)
{
    uint8_t buf[4096];

    pattern_fill(buf, sizeof(buf), 0);
    faults_init(&f->faults);
    assert_int_equal(byre_store_new_memory(buf, sizeof(buf), &f->base, NULL),
                     BYRE_OK);
    assert_int_equal(fault_store_new(f->base, &f->faults, &f->store, NULL),
                     BYRE_OK);
}

static void fixture_done(struct fixture *f)
{
    byre_store_unref(f->store);
    byre_store_unref(f->base);
}

/* One call of the kind, that a memory store would take. */
static int call(struct byre_store *store, enum fault_kind kind,
                struct byre_error *err)
{
    uint8_t buf[16] = { 0 };
    uint64_t bytes;
    uint32_t hole;

    switch (kind) {
    case FAULT_READ:
        return store_read(store, 0, buf, sizeof(buf), err);
    case FAULT_WRITE:
        return store_write(store, 0, buf, sizeof(buf), err);
    case FAULT_FLUSH:
        return store_flush(store, err);
    case FAULT_RESIZE:
        return store_resize(store, 4096, err);
    case FAULT_ZERO:
        return store_zero(store, 0, 16, 0, err);
    case FAULT_DISCARD:
        return store_discard(store, 0, 16, err);
    case FAULT_GET_SIZE:
        return store_get_size(store, &bytes, err);
    case FAULT_EXTENT:
        return store->ops.extent(store->user, 0, 16, &hole, &bytes, err);
    case FAULT_ANY:
    case FAULT_KINDS:
        break;
    }
    return BYRE_E_INVALID;
}

/* Gives a memory store, which cannot tell its holes, a function that can. */
static int extent_of_data(void *user, uint64_t offset, uint64_t length,
                          uint32_t *ret_kind, uint64_t *ret_length,
                          struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)err;
    *ret_kind = BYRE_STORE_DATA;
    *ret_length = length;
    return BYRE_OK;
}

static void test_nth_call_of_each_kind(void **state)
{
    (void)state;
    for (int kind = 0; kind < FAULT_ANY; kind++) {
        struct fixture f;

        fixture_init(&f);
        byre_store_unref(f.store);
        f.base->ops.extent = extent_of_data;
        assert_int_equal(fault_store_new(f.base, &f.faults, &f.store, NULL),
                         BYRE_OK);
        faults_set(&f.faults, (enum fault_kind)kind,
                   &(struct fault){ .nth = 3 });
        for (uint64_t i = 1; i <= 5; i++) {
            struct byre_error err = { .message = "" };
            const int r = call(f.store, (enum fault_kind)kind, &err);

            assert_int_equal(r, i == 3 ? BYRE_E_IO : BYRE_OK);
            assert_int_equal(err.sys_errno, i == 3 ? EIO : 0);
            assert_int_equal(
                call(f.store, (enum fault_kind)((kind + 1) % FAULT_ANY), NULL),
                BYRE_OK);
        }
        assert_int_equal(faults_calls(&f.faults, (enum fault_kind)kind), 5);
        assert_int_equal(faults_calls(&f.faults, FAULT_ANY), 10);
        assert_int_equal(faults_failed(&f.faults), 1);
        fixture_done(&f);
    }
}

static void test_any_call_and_its_code(void **state)
{
    struct byre_error err = { .message = "" };
    struct fixture f;

    (void)state;
    fixture_init(&f);
    faults_set(&f.faults, FAULT_ANY,
               &(struct fault){ .nth = 2, .sys_errno = ENOSPC });
    assert_int_equal(call(f.store, FAULT_READ, &err), BYRE_OK);
    assert_int_equal(call(f.store, FAULT_WRITE, &err), BYRE_E_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_int_equal(call(f.store, FAULT_WRITE, &err), BYRE_OK);

    faults_set(&f.faults, FAULT_ANY,
               &(struct fault){ .nth = 1, .code = BYRE_E_NOMEM });
    assert_int_equal(faults_calls(&f.faults, FAULT_READ), 0);
    assert_int_equal(call(f.store, FAULT_FLUSH, &err), BYRE_E_NOMEM);
    assert_int_equal(err.code, BYRE_E_NOMEM);
    assert_string_equal(err.message, "a test fails this flush");
    fixture_done(&f);
}

/* A full disk stays full. */
static void test_persisting(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    faults_set(&f.faults, FAULT_WRITE,
               &(struct fault){ .nth = 2, .flags = FAULT_PERSISTS });
    for (int i = 1; i <= 5; i++)
        assert_int_equal(call(f.store, FAULT_WRITE, NULL),
                         i == 1 ? BYRE_OK : BYRE_E_IO);
    assert_int_equal(call(f.store, FAULT_READ, NULL), BYRE_OK);
    assert_int_equal(faults_failed(&f.faults), 4);
    fixture_done(&f);
}

/* A call that fails leaves the store below as it is, but for torn sectors. */
static void test_torn_writes(void **state)
{
    /* clang-format off */
    static const struct {
        uint64_t offset;
        size_t length;
        uint64_t sectors;
        size_t landed;
    } cases[] = {
        {    0, 2048, 0,    0 },
        {    0, 2048, 1,  512 },
        {    0, 2048, 3, 1536 },
        {    0, 2048, 9, 2048 },
        {  100, 1000, 1,  412 },
        {  100, 1000, 2,  924 },
        {  100, 1000, 3, 1000 },
        {  511,    2, 1,    1 },
        {  600,    8, 1,    8 },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const size_t end = (size_t)cases[i].offset + cases[i].landed;
        uint8_t want[4096], got[4096], zeroes[2048] = { 0 };
        struct fixture f;

        fixture_init(&f);
        faults_set(
            &f.faults, FAULT_WRITE,
            &(struct fault){ .nth = 1, .sectors_landed = cases[i].sectors });
        assert_int_equal(store_write(f.store, cases[i].offset, zeroes,
                                     cases[i].length, NULL),
                         BYRE_E_IO);
        pattern_fill(want, sizeof(want), 0);
        memset(want + cases[i].offset, 0, end - (size_t)cases[i].offset);
        store_read(f.base, 0, got, sizeof(got), NULL);
        assert_memory_equal(got, want, sizeof(got));
        fixture_done(&f);
    }
}

/* What the store below lacks is missing, and it lives as long as the one on
   top. */
static void test_stands_for_its_base(void **state)
{
    struct byre_store *read_only = NULL, *store = NULL;
    struct byre_store_ops ops;
    struct fixture f;
    uint8_t buf[16];

    (void)state;
    fixture_init(&f);
    assert_string_equal(f.store->protocol, "memory");
    assert_null(f.store->ops.extent);
    ops = f.base->ops;
    ops.write = NULL;
    ops.close = NULL;
    assert_int_equal(byre_store_new(&ops, f.base->user, &read_only, NULL),
                     BYRE_OK);
    assert_int_equal(fault_store_new(read_only, &f.faults, &store, NULL),
                     BYRE_OK);
    byre_store_unref(read_only);
    assert_int_equal(store_write(store, 0, "x", 1, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_read(store, 7, buf, sizeof(buf), NULL), BYRE_OK);
    assert_int_equal(buf[0], pattern_at(7));
    byre_store_unref(store);
    fixture_done(&f);
}

static int zero_unsupported(void *user, uint64_t offset, uint64_t length,
                            uint32_t flags, struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)length;
    (void)flags;
    (void)err;
    return BYRE_E_UNSUPPORTED;
}

/* The writes that a zero comes down to are calls that can fail. */
static void test_zero_by_writes(void **state)
{
    uint8_t got[4096], want[4096];
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.base->ops.zero = zero_unsupported;
    faults_set(&f.faults, FAULT_WRITE,
               &(struct fault){ .nth = 1, .sys_errno = ENOSPC });
    assert_int_equal(store_zero(f.store, 100, 50, 0, NULL), BYRE_E_IO);
    assert_int_equal(faults_calls(&f.faults, FAULT_ZERO), 1);
    assert_int_equal(store_zero(f.store, 100, 50, 0, NULL), BYRE_OK);
    pattern_fill(want, sizeof(want), 0);
    memset(want + 100, 0, 50);
    store_read(f.base, 0, got, sizeof(got), NULL);
    assert_memory_equal(got, want, sizeof(got));
    fixture_done(&f);
}

/* A discard that fails has discarded nothing. */
static void test_failed_discard(void **state)
{
    uint8_t got[4096], want[4096];
    struct fixture f;

    (void)state;
    fixture_init(&f);
    faults_set(&f.faults, FAULT_DISCARD, &(struct fault){ .nth = 1 });
    assert_int_equal(store_discard(f.store, 0, 4096, NULL), BYRE_E_IO);
    pattern_fill(want, sizeof(want), 0);
    store_read(f.base, 0, got, sizeof(got), NULL);
    assert_memory_equal(got, want, sizeof(got));
    assert_int_equal(store_discard(f.store, 0, 4096, NULL), BYRE_OK);
    store_read(f.base, 0, got, sizeof(got), NULL);
    assert_true(all_bytes_are(got, sizeof(got), 0));
    fixture_done(&f);
}

#define THREADS      4
#define CALLS_OF_ONE 2000

static void *read_often(void *user)
{
    struct byre_store *store = user;
    size_t failed = 0;

    for (int i = 0; i < CALLS_OF_ONE; i++)
        failed += call(store, FAULT_READ, NULL) != BYRE_OK;
    return (void *)(uintptr_t)failed;
}

/* With many threads each call still has one number. */
static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    size_t failed = 0;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    faults_set(&f.faults, FAULT_READ, &(struct fault){ .nth = 4321 });
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_often, f.store),
                         0);
    for (int i = 0; i < THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        failed += (size_t)(uintptr_t)result;
    }
    assert_int_equal(failed, 1);
    assert_int_equal(faults_calls(&f.faults, FAULT_READ),
                     THREADS * CALLS_OF_ONE);
    fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_call_of_each_kind),
        cmocka_unit_test(test_any_call_and_its_code),
        cmocka_unit_test(test_persisting),
        cmocka_unit_test(test_torn_writes),
        cmocka_unit_test(test_zero_by_writes),
        cmocka_unit_test(test_failed_discard),
        cmocka_unit_test(test_stands_for_its_base),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
