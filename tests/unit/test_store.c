/* SPDX-License-Identifier: MIT */
/*
 * Without this test a store could lose its promises unseen: reads past the end
 * give zeroes, missing functions are named and not called, and a caller's
 * struct of another version is read no further than its size.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/arith.h"
#include "store/file.h"
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

static void test_memory_ends(void **state)
{
    struct byre_store *store = memory_of_pattern(1000);

    (void)state;
    check_ends(store, 0);
    byre_store_unref(store);
}

static void test_slice_ends(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store = NULL;

    (void)state;
    assert_int_equal(slice_store_new(base, 300, 1000, &store, NULL), BYRE_OK);
    byre_store_unref(base);
    check_ends(store, 300);
    byre_store_unref(store);
}

/* ---- Memory ---- */

static void test_memory_grows(void **state)
{
    struct byre_store *store = memory_of_pattern(10);
    uint8_t buf[64];

    (void)state;
    assert_string_equal(store->protocol, "memory");
    assert_int_equal(store_write(store, 100, "abc", 3, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 103);
    assert_int_equal(store_read(store, 8, buf, 10, NULL), BYRE_OK);
    assert_int_equal(buf[1], pattern_at(9));
    assert_true(all_bytes_are(buf + 2, 8, 0));
    assert_int_equal(store_read(store, 99, buf, 5, NULL), BYRE_OK);
    assert_memory_equal(buf, "\0abc", 5);

    /* What was cut off is gone when the store grows again. */
    assert_int_equal(store_resize(store, 101, NULL), BYRE_OK);
    assert_int_equal(store_resize(store, 200, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 200);
    assert_int_equal(store_read(store, 100, buf, 4, NULL), BYRE_OK);
    assert_memory_equal(buf, "a\0\0\0", 4);

    assert_int_equal(store_zero(store, 2, 4, 0, NULL), BYRE_OK);
    assert_int_equal(store_read(store, 0, buf, 8, NULL), BYRE_OK);
    assert_true(buf[1] != 0 && buf[6] != 0);
    assert_true(all_bytes_are(buf + 2, 4, 0));
    assert_int_equal(store_flush(store, NULL), BYRE_OK);
    byre_store_unref(store);
}

/* A write that ends past the largest offset is refused, not wrapped around. */
static void test_memory_write_limits(void **state)
{
    struct byre_store *store = memory_of_pattern(10);
    struct byre_error err = { 0 };

    (void)state;
    assert_true(store_write(store, UINT64_MAX - 1, "abc", 3, &err) < 0);
    assert_true(store_write(store, STORE_MAX_OFFSET - 1, "abc", 3, &err) < 0);
    assert_true(store_resize(store, UINT64_MAX, &err) < 0);
    assert_true(err.code < 0);
    assert_true(err.message[0] != '\0');
    assert_int_equal(size_of(store), 10);
    byre_store_unref(store);
}

static void test_memory_empty(void **state)
{
    struct byre_store *store = NULL;
    uint8_t buf[16];

    (void)state;
    assert_int_equal(byre_store_new_memory(NULL, 0, &store, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 0);
    assert_int_equal(store_read(store, 0, buf, sizeof(buf), NULL), BYRE_OK);
    assert_true(all_bytes_are(buf, sizeof(buf), 0));
    assert_int_equal(store_write(store, 0, "x", 1, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 1);
    byre_store_unref(store);
    byre_store_unref(NULL);
}

struct readers {
    struct byre_store *store;
    atomic_bool stop;
    atomic_uint wrong_reads;
};

/* Reads all over the store: each byte is its pattern, or not there yet. */
static void *reader_main(void *arg)
{
    struct readers *readers = arg;
    uint8_t buf[4096];

    for (uint64_t i = 0; i < 400 || !atomic_load(&readers->stop); i++) {
        const uint64_t offset = i * 7919 % MIB;

        if (store_read(readers->store, offset, buf, sizeof(buf), NULL) < 0)
            atomic_fetch_add(&readers->wrong_reads, 1);
        for (size_t j = 0; j < sizeof(buf); j++) {
            if (buf[j] != 0 && buf[j] != pattern_at(offset + j))
                atomic_fetch_add(&readers->wrong_reads, 1);
        }
    }
    return NULL;
}

static void test_memory_concurrent_readers(void **state)
{
    struct readers readers = { .store = memory_of_pattern(1000) };
    pthread_t threads[4];
    uint8_t buf[8192];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, reader_main, &readers), 0);
    for (uint64_t offset = 0; offset < MIB; offset += sizeof(buf)) {
        pattern_fill(buf, sizeof(buf), offset);
        assert_int_equal(
            store_write(readers.store, offset, buf, sizeof(buf), NULL),
            BYRE_OK);
    }
    atomic_store(&readers.stop, true);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&readers.wrong_reads), 0);
    assert_int_equal(size_of(readers.store), MIB);
    byre_store_unref(readers.store);
}

/* ---- The caller's own functions ---- */

/* A store of the caller's: `length` patterned bytes, and what was called. */
struct caller {
    uint64_t length;
    unsigned close_count;
    int fail_code; /* what read returns, if not 0 */
    uint64_t extent_length;
};

static int caller_read(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    struct caller *caller = user;

    if (caller->fail_code != 0) {
        err->code = caller->fail_code;
        strcpy(err->message, "the caller says no");
        return caller->fail_code;
    }
    memset(buf, 0, length);
    if (offset < caller->length)
        pattern_fill(buf, (size_t)min_u64(length, caller->length - offset),
                     offset);
    return BYRE_OK;
}

static int caller_get_size(void *user, uint64_t *ret_size_bytes,
                           struct byre_error *err)
{
    (void)err;
    *ret_size_bytes = ((struct caller *)user)->length;
    return BYRE_OK;
}

static int caller_extent(void *user, uint64_t offset, uint64_t length,
                         uint32_t *ret_kind, uint64_t *ret_length,
                         struct byre_error *err)
{
    (void)offset;
    (void)length;
    (void)err;
    *ret_kind = BYRE_STORE_DATA;
    *ret_length = ((struct caller *)user)->extent_length;
    return BYRE_OK;
}

static void caller_close(void *user)
{
    ((struct caller *)user)->close_count++;
}

static const struct byre_store_ops caller_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = caller_read,
    .get_size = caller_get_size,
    .close = caller_close,
};

static void test_caller_least_functions(void **state)
{
    struct caller caller = { .length = 1000 };
    struct byre_store_ops ops = caller_ops;
    struct byre_store *store = NULL;
    struct byre_error err = { 0 };

    (void)state;
    assert_int_equal(byre_store_new(&ops, &caller, &store, &err), BYRE_OK);
    memset(&ops, 0, sizeof(ops)); /* it was copied */
    assert_string_equal(store->protocol, "store");
    check_ends(store, 0);

    assert_int_equal(store_write(store, 0, "x", 1, &err), BYRE_E_UNSUPPORTED);
    assert_int_equal(err.code, BYRE_E_UNSUPPORTED);
    assert_int_equal(store_resize(store, 5, &err), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_zero(store, 0, 5, 0, &err), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_flush(store, &err), BYRE_E_UNSUPPORTED);
    assert_true(store_allocated_bytes(store) == BYRE_NO_OFFSET);
    assert_false(store->identity.known);

    assert_ptr_equal(store_ref(store), store);
    byre_store_unref(store);
    assert_int_equal(caller.close_count, 0);
    byre_store_unref(store);
    assert_int_equal(caller.close_count, 1);
}

/* A failure reaches the caller as it was made, also where it wants no words. */
static void test_caller_fails(void **state)
{
    struct caller caller = { .length = 1000, .fail_code = BYRE_E_LIMIT };
    struct byre_store *store = NULL;
    struct byre_error err = { 0 };
    uint8_t buf[8];

    (void)state;
    assert_int_equal(byre_store_new(&caller_ops, &caller, &store, NULL),
                     BYRE_OK);
    assert_int_equal(store_read(store, 0, buf, 8, NULL), BYRE_E_LIMIT);
    assert_int_equal(store_read(store, 0, buf, 8, &err), BYRE_E_LIMIT);
    assert_int_equal(err.code, BYRE_E_LIMIT);
    assert_non_null(strstr(err.message, "the caller says no"));
    byre_store_unref(store);
}

/* A caller's extent that answers nonsense never stops or misleads a loop. */
static void test_caller_extent_nonsense(void **state)
{
    struct caller caller = { .length = 1000, .extent_length = 0 };
    struct byre_store_ops ops = caller_ops;
    struct byre_store *store = NULL;
    uint64_t length = 0;
    uint32_t kind = 0;
    int r;

    (void)state;
    ops.extent = caller_extent;
    assert_int_equal(byre_store_new(&ops, &caller, &store, NULL), BYRE_OK);
    r = store_extent(store, 0, 100, &kind, &length, NULL);
    assert_true(r < 0 || length > 0);

    caller.extent_length = UINT64_MAX;
    r = store_extent(store, 0, 100, &kind, &length, NULL);
    assert_true(r < 0 || length <= 100);
    byre_store_unref(store);
}

struct future_ops {
    struct byre_store_ops known;
    uint64_t unknown[4];
};

enum {
    NEEDED_BYTES = offsetof(struct byre_store_ops, extent),
    FIRST_BYTES = offsetof(struct byre_store_ops, discard),
    KNOWN_BYTES = sizeof(struct byre_store_ops),
    FUTURE_BYTES = sizeof(struct future_ops),
};

struct sized_case {
    const char *name;
    size_t size;
    uint64_t unknown; /* what stands behind the members known here */
    int want;
};

/* clang-format off */
static const struct sized_case sized_cases[] = {
    { "no size",                         0,                0, BYRE_E_INVALID },
    { "only its size",                   sizeof(size_t),   0, BYRE_E_INVALID },
    { "get_size cut in half",            NEEDED_BYTES - 4, 0, BYRE_E_INVALID },
    { "the required members",            NEEDED_BYTES,     0, BYRE_OK },
    { "older, without discard",          FIRST_BYTES,      0, BYRE_OK },
    { "as known here",                   KNOWN_BYTES,      0, BYRE_OK },
    { "as known here, bytes behind",     KNOWN_BYTES,      1, BYRE_OK },
    { "newer, unknown members zero",     FUTURE_BYTES,     0, BYRE_OK },
    { "newer, unknown members used",     FUTURE_BYTES,     1, BYRE_E_INVALID },
};
/* clang-format on */

static void test_caller_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sized_cases) / sizeof(sized_cases[0]); i++) {
        const struct sized_case *c = &sized_cases[i];
        struct caller caller = { .length = 1000, .extent_length = 1 };
        struct future_ops ops = { .known = caller_ops };
        struct byre_store *store = NULL;
        const bool has_close = c->size >= FIRST_BYTES;
        int r;

        ops.known.size = c->size;
        ops.unknown[3] = c->unknown;
        r = byre_store_new(&ops.known, &caller, &store, NULL);
        if (r != c->want)
            fail_msg("%s: %d, not %d", c->name, r, c->want);
        assert_true((store != NULL) == (r == BYRE_OK));
        byre_store_unref(store);
        if (caller.close_count != (r == BYRE_OK && has_close))
            fail_msg("%s: closed %u times", c->name, caller.close_count);
    }
}

static void test_caller_required(void **state)
{
    struct caller caller = { .length = 1000 };
    struct byre_store_ops ops = caller_ops;
    struct byre_store *store = NULL;

    (void)state;
    ops.read = NULL;
    assert_int_equal(byre_store_new(&ops, &caller, &store, NULL),
                     BYRE_E_INVALID);
    ops = caller_ops;
    ops.get_size = NULL;
    assert_int_equal(byre_store_new(&ops, &caller, &store, NULL),
                     BYRE_E_INVALID);
    assert_int_equal(byre_store_new(NULL, &caller, &store, NULL),
                     BYRE_E_INVALID);
    assert_null(store);
    assert_int_equal(caller.close_count, 0);
}

/* ---- Slices ---- */

struct slice_case {
    const char *name;
    uint64_t offset;
    uint64_t length;
    uint64_t want_size;
};

/* clang-format off */
static const struct slice_case slice_cases[] = {
    { "all",              0,    BYRE_NO_OFFSET, 5000 },
    { "the rest",         4000, BYRE_NO_OFFSET, 1000 },
    { "a part",           10,   20,             20 },
    { "nothing",          10,   0,              0 },
    { "nothing is left",  5000, BYRE_NO_OFFSET, 0 },
};
/* clang-format on */

static void test_slice_sizes(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);

    (void)state;
    for (size_t i = 0; i < sizeof(slice_cases) / sizeof(slice_cases[0]); i++) {
        const struct slice_case *c = &slice_cases[i];
        struct byre_store *store = NULL;
        uint8_t byte = 77;

        if (slice_store_new(base, c->offset, c->length, &store, NULL) < 0)
            fail_msg("%s: not made", c->name);
        if (size_of(store) != c->want_size)
            fail_msg("%s: other size", c->name);
        assert_int_equal(store_read(store, 0, &byte, 1, NULL), BYRE_OK);
        assert_int_equal(byte, c->want_size > 0 ? pattern_at(c->offset) : 0);
        byre_store_unref(store);
    }
    byre_store_unref(base);
}

/* A window whose end does not fit 64 bits is refused, not wrapped around. */
static void test_slice_wrap(void **state)
{
    struct byre_store *base = memory_of_pattern(5000);
    struct byre_store *store = NULL;

    (void)state;
    assert_true(slice_store_new(base, 4000, UINT64_MAX - 1, &store, NULL) < 0);
    assert_true(slice_store_new(base, UINT64_MAX - 5, 10, &store, NULL) < 0);
    assert_null(store);
    byre_store_unref(base);
}

/* Locks are the affair of files; elsewhere they are granted. */
static void test_memory_lock(void **state)
{
    struct byre_store *store = memory_of_pattern(10);

    (void)state;
    assert_int_equal(file_store_lock(store, FILE_LOCK_WRITE, FILE_LOCK_WRITE,
                                     "memory", NULL),
                     BYRE_OK);
    byre_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_ends),
        cmocka_unit_test(test_slice_ends),
        cmocka_unit_test(test_memory_grows),
        cmocka_unit_test(test_memory_write_limits),
        cmocka_unit_test(test_memory_empty),
        cmocka_unit_test(test_memory_concurrent_readers),
        cmocka_unit_test(test_caller_least_functions),
        cmocka_unit_test(test_caller_fails),
        cmocka_unit_test(test_caller_extent_nonsense),
        cmocka_unit_test(test_caller_sizes),
        cmocka_unit_test(test_caller_required),
        cmocka_unit_test(test_slice_sizes),
        cmocka_unit_test(test_slice_wrap),
        cmocka_unit_test(test_memory_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
