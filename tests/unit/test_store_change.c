/* SPDX-License-Identifier: MIT */
/*
 * Without this test a zero could grow a store or leave old bytes behind, a
 * discard fail what works without it, and a write leave the window of a file
 * that it was meant for.
 */
#include "store/fault.h"
#include "store/slice.h"
#include "store_cases.h"

static struct byre_store *memory_of_pattern(size_t length)
{
    struct byre_store *store = NULL;
    uint8_t *buf = malloc(length + 1);

    assert_non_null(buf);
    pattern_fill(buf, length, 0);
    assert_int_equal(byre_store_new_memory(buf, length, &store, NULL), BYRE_OK);
    free(buf);
    return store;
}

/* Asserts that the store is `length` patterned bytes but for a zeroed range. */
static void assert_zeroed(struct byre_store *store, uint64_t length,
                          uint64_t from, uint64_t end)
{
    uint8_t *got = malloc((size_t)length + 1);

    assert_non_null(got);
    assert_int_equal(size_of(store), length);
    assert_int_equal(store_read(store, 0, got, (size_t)length, NULL), BYRE_OK);
    for (uint64_t i = 0; i < length; i++) {
        const bool zeroed = i >= from && i < end;

        if (got[i] != (zeroed ? 0 : pattern_at(i)))
            fail_msg("byte %llu is %u", (unsigned long long)i, got[i]);
    }
    free(got);
}

/* ---- Zeroing ---- */

struct range_case {
    const char *name;
    uint64_t offset;
    uint64_t length;
    int want;
};

/* clang-format off */
static const struct range_case range_cases[] = {
    { "nothing",                    100,    0, BYRE_OK },
    { "a byte",                     100,    1, BYRE_OK },
    { "inside",                     100, 5000, BYRE_OK },
    { "all",                          0, 200000, BYRE_OK },
    { "more than is written at once", 1, 199998, BYRE_OK },
    { "up to the end",           199000, 1000, BYRE_OK },
    { "over the end",            199000, 5000, BYRE_OK },
    { "past the end",            200000, 5000, BYRE_OK },
    { "to the last offset",      100000, INT64_MAX - 100000, BYRE_OK },
    { "past the last offset",    100000, INT64_MAX, BYRE_E_INVALID },
    { "wrapping around",         100000, UINT64_MAX, BYRE_E_INVALID },
};
/* clang-format on */

#define RANGE_CASES (sizeof(range_cases) / sizeof(range_cases[0]))
#define RANGE_BYTES 200000

/* Zeroes each range of a store as `change` leaves its functions. */
static void check_zeroes(void (*change)(struct byre_store_ops *ops),
                         uint32_t flags)
{
    for (size_t i = 0; i < RANGE_CASES; i++) {
        const struct range_case *c = &range_cases[i];
        struct byre_store *store = memory_of_pattern(RANGE_BYTES);
        const uint64_t end = c->want == BYRE_OK ? c->offset + c->length : 0;
        int r;

        change(&store->ops);
        r = store_zero(store, c->offset, c->length, flags, NULL);
        if (r != c->want)
            fail_msg("%s: %d", c->name, r);
        assert_zeroed(store, RANGE_BYTES, c->offset, end);
        byre_store_unref(store);
    }
}

static int zero_refused(void *user, uint64_t offset, uint64_t length,
                        uint32_t flags, struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)length;
    (void)flags;
    (void)err;
    return BYRE_E_UNSUPPORTED;
}

static void keep_zero(struct byre_store_ops *ops)
{
    (void)ops;
}

static void lose_zero(struct byre_store_ops *ops)
{
    ops->zero = NULL;
}

static void refuse_zero(struct byre_store_ops *ops)
{
    ops->zero = zero_refused;
}

static void test_zero_by_memory(void **state)
{
    (void)state;
    check_zeroes(keep_zero, 0);
    check_zeroes(keep_zero, BYRE_STORE_MAY_UNMAP);
}

static void test_zero_missing(void **state)
{
    (void)state;
    check_zeroes(lose_zero, 0);
}

static void test_zero_unsupported(void **state)
{
    (void)state;
    check_zeroes(refuse_zero, BYRE_STORE_MAY_UNMAP);
}

/* A store that can be neither zeroed nor written says so. */
static void test_zero_read_only(void **state)
{
    struct byre_store *store = memory_of_pattern(1000);

    (void)state;
    store->ops.write = NULL;
    assert_int_equal(store_zero(store, 0, 10, 0, NULL), BYRE_OK);
    assert_zeroed(store, 1000, 0, 10);
    store->ops.zero = zero_refused;
    assert_int_equal(store_zero(store, 0, 20, 0, NULL), BYRE_E_UNSUPPORTED);
    assert_zeroed(store, 1000, 0, 10);
    byre_store_unref(store);
}

/* A failure that is one is not written over. */
static void test_zero_fails(void **state)
{
    struct byre_store *base = memory_of_pattern(1000), *store = NULL;
    struct byre_error err = { .message = "" };
    struct faults faults;

    (void)state;
    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), BYRE_OK);
    faults_set(&faults, FAULT_ZERO, &(struct fault){ .nth = 1 });
    assert_int_equal(store_zero(store, 0, 10, 0, &err), BYRE_E_IO);
    assert_int_equal(err.code, BYRE_E_IO);
    assert_int_equal(faults_calls(&faults, FAULT_WRITE), 0);
    assert_zeroed(store, 1000, 0, 0);
    byre_store_unref(store);
    byre_store_unref(base);
}

/* ---- Discarding ---- */

static int discard_refused(void *user, uint64_t offset, uint64_t length,
                           struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)length;
    (void)err;
    return BYRE_E_UNSUPPORTED;
}

static void test_discard(void **state)
{
    (void)state;
    for (size_t i = 0; i < RANGE_CASES; i++) {
        const struct range_case *c = &range_cases[i];
        struct byre_store *store = memory_of_pattern(RANGE_BYTES);
        const uint64_t end = c->want == BYRE_OK ? c->offset + c->length : 0;

        if (store_discard(store, c->offset, c->length, NULL) != c->want)
            fail_msg("%s", c->name);
        assert_zeroed(store, RANGE_BYTES, c->offset, end);
        byre_store_unref(store);
    }
}

/* Where it cannot be done, nothing is wrong and nothing is changed. */
static void test_discard_missing(void **state)
{
    struct byre_store *store = memory_of_pattern(1000);

    (void)state;
    store->ops.discard = NULL;
    assert_int_equal(store_discard(store, 0, 1000, NULL), BYRE_OK);
    assert_int_equal(store_discard(store, 5, UINT64_MAX, NULL), BYRE_E_INVALID);
    store->ops.discard = discard_refused;
    assert_int_equal(store_discard(store, 0, 1000, NULL), BYRE_OK);
    assert_zeroed(store, 1000, 0, 0);
    byre_store_unref(store);
}

/* ---- Slices ---- */

static struct byre_store *slice_of(struct byre_store *base, uint64_t offset,
                                   uint64_t length)
{
    struct byre_store *store = NULL;

    assert_int_equal(slice_store_new(base, offset, length, &store, NULL),
                     BYRE_OK);
    return store;
}

static void test_slice_writes_its_window(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store = slice_of(base, 1000, 500);
    uint8_t got[6];

    (void)state;
    assert_int_equal(store_write(store, 0, "abc", 3, NULL), BYRE_OK);
    assert_int_equal(store_write(store, 497, "xyz", 3, NULL), BYRE_OK);
    assert_int_equal(store_read(base, 999, got, 5, NULL), BYRE_OK);
    assert_memory_equal(got + 1, "abc", 3);
    assert_int_equal(got[0], pattern_at(999));
    assert_int_equal(got[4], pattern_at(1003));
    assert_int_equal(store_read(base, 1496, got, 5, NULL), BYRE_OK);
    assert_memory_equal(got + 1, "xyz", 3);
    assert_int_equal(got[4], pattern_at(1500));
    assert_int_equal(store_flush(store, NULL), BYRE_OK);
    byre_store_unref(store);
    byre_store_unref(base);
}

static void test_slice_zeroes_its_window(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store = slice_of(base, 1000, 500);

    (void)state;
    assert_int_equal(store_zero(store, 400, 4000, 0, NULL), BYRE_OK);
    assert_int_equal(store_zero(store, 600, 100, 0, NULL), BYRE_OK);
    assert_zeroed(base, 5000, 1400, 1500);
    assert_int_equal(store_discard(store, 300, 4000, NULL), BYRE_OK);
    assert_int_equal(store_discard(store, 500, 4000, NULL), BYRE_OK);
    assert_zeroed(base, 5000, 1300, 1500);
    byre_store_unref(store);

    store = slice_of(base, 1000, BYRE_NO_OFFSET);
    assert_int_equal(store_zero(store, 500, 100000, 0, NULL), BYRE_OK);
    assert_zeroed(base, 5000, 1300, 5000);
    assert_int_equal(store_zero(store, 5, INT64_MAX - 5, 0, NULL), BYRE_OK);
    assert_int_equal(store_discard(store, 5, INT64_MAX - 5, NULL), BYRE_OK);
    assert_zeroed(base, 5000, 1005, 5000);
    byre_store_unref(store);
    byre_store_unref(base);
}

static void test_slice_of_fixed_size(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store = slice_of(base, 1000, 500);
    struct byre_error err = { .message = "" };

    (void)state;
    assert_int_equal(store_write(store, 498, "abc", 3, &err), BYRE_E_LIMIT);
    assert_non_null(strstr(err.message, "fixed size of 500 bytes"));
    assert_int_equal(store_write(store, INT64_MAX - 3, "abc", 3, &err),
                     BYRE_E_LIMIT);
    assert_int_equal(store_resize(store, 501, &err), BYRE_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "fixed size of 500 bytes"));
    assert_int_equal(store_resize(store, 499, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_resize(store, 500, NULL), BYRE_OK);
    assert_zeroed(base, 5000, 0, 0);
    byre_store_unref(store);
    byre_store_unref(base);
}

static void test_slice_grows_with_its_base(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store = slice_of(base, 1000, BYRE_NO_OFFSET);
    uint8_t got[3];

    (void)state;
    assert_int_equal(store_write(store, 4500, "abc", 3, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 4503);
    assert_int_equal(size_of(base), 5503);
    assert_int_equal(store_read(base, 5500, got, 3, NULL), BYRE_OK);
    assert_memory_equal(got, "abc", 3);
    assert_int_equal(store_resize(store, 4000, NULL), BYRE_OK);
    assert_zeroed(base, 5000, 0, 0);
    assert_int_equal(store_resize(store, INT64_MAX, NULL), BYRE_E_INVALID);

    /* Whoever cuts the base off below it leaves nothing of the window. */
    assert_int_equal(store_resize(base, 500, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 0);
    assert_extent(store, 0, 4096, BYRE_STORE_HOLE);
    byre_store_unref(store);
    byre_store_unref(base);
}

static void test_slice_of_read_only(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store;

    (void)state;
    base->ops.write = NULL;
    base->ops.zero = NULL;
    base->ops.discard = NULL;
    base->ops.resize = NULL;
    store = slice_of(base, 1000, 500);
    assert_int_equal(store_write(store, 0, "x", 1, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_zero(store, 0, 1, 0, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_resize(store, 1, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_discard(store, 0, 1, NULL), BYRE_OK);
    byre_store_unref(store);
    byre_store_unref(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_by_memory),
        cmocka_unit_test(test_zero_missing),
        cmocka_unit_test(test_zero_unsupported),
        cmocka_unit_test(test_zero_read_only),
        cmocka_unit_test(test_zero_fails),
        cmocka_unit_test(test_discard),
        cmocka_unit_test(test_discard_missing),
        cmocka_unit_test(test_slice_writes_its_window),
        cmocka_unit_test(test_slice_zeroes_its_window),
        cmocka_unit_test(test_slice_of_fixed_size),
        cmocka_unit_test(test_slice_grows_with_its_base),
        cmocka_unit_test(test_slice_of_read_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
