/* SPDX-License-Identifier: MIT */
/*
 * Without this test a store could lose its promises unseen: reads past the end
 * give zeroes, missing functions are named and not called, a caller's struct of
 * another version is read no further than its size, sparse files report their
 * holes, and QEMU's locks keep two users of a file apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "store/file.h"
#include "store/slice.h"
#include "store/store.h"

#define MIB (UINT64_C(1) << 20)

/* ---- Helpers ---- */

static bool all_bytes_are(const uint8_t *buf, size_t length, uint8_t value)
{
    for (size_t i = 0; i < length; i++) {
        if (buf[i] != value)
            return false;
    }
    return true;
}

/* What byte `offset` of a patterned store holds; never zero. */
static uint8_t pattern_at(uint64_t offset)
{
    return (uint8_t)(1 + offset % 251);
}

static void pattern_fill(uint8_t *buf, size_t length, uint64_t offset)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = pattern_at(offset + i);
}

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

static uint64_t size_of(struct byre_store *store)
{
    uint64_t size_bytes = 0;

    assert_int_equal(store_get_size(store, &size_bytes, NULL), BYRE_OK);
    return size_bytes;
}

/* Asserts that [offset, offset + length) is of `kind`, however it is split. */
static void assert_extent(struct byre_store *store, uint64_t offset,
                          uint64_t length, uint32_t kind)
{
    const uint64_t end = offset + length;

    while (offset < end) {
        uint64_t got_length = 0;
        uint32_t got_kind = 77;

        assert_int_equal(store_extent(store, offset, end - offset, &got_kind,
                                      &got_length, NULL),
                         BYRE_OK);
        assert_int_equal(got_kind, kind);
        assert_in_range(got_length, 1, end - offset);
        offset += got_length;
    }
}

/* A temporary file, gone from its folder when the test ends. */
struct scratch {
    char path[64];
    int fd;
};

static int scratch_setup(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));

    assert_non_null(scratch);
    strcpy(scratch->path, "/tmp/byre-test-store-XXXXXX");
    scratch->fd = mkstemp(scratch->path);
    assert_true(scratch->fd >= 0);
    *state = scratch;
    return 0;
}

static int scratch_teardown(void **state)
{
    struct scratch *scratch = *state;

    close(scratch->fd);
    unlink(scratch->path);
    free(scratch);
    return 0;
}

static void write_pattern(int fd, size_t length, uint64_t offset)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    pattern_fill(buf, length, offset);
    assert_int_equal(pwrite(fd, buf, length, (off_t)offset), length);
    free(buf);
}

/* ---- Reads past the end, of every kind of store ---- */

struct end_case {
    const char *name;
    uint64_t offset;
    size_t length;
    size_t data_bytes; /* how many of them are data; the rest reads as zero */
};

/* clang-format off */
static const struct end_case end_cases[] = {
    { "inside",                   10, 50,  50 },
    { "up to the end",           900, 100, 100 },
    { "over the end",            990, 100, 10 },
    { "from the end",           1000, 100, 0 },
    { "far past the end",    1 << 30, 100, 0 },
    { "nothing",                   0, 0,   0 },
    { "up to the last offset", (uint64_t)INT64_MAX - 100, 100, 0 },
    { "over the last offset",  (uint64_t)INT64_MAX - 50,  100, 0 },
    { "past the last offset",  (uint64_t)INT64_MAX + 1,   100, 0 },
    { "at the end of 64 bits",          UINT64_MAX - 100, 100, 0 },
    { "wrapping around",                 UINT64_MAX - 50, 100, 0 },
};
/* clang-format on */

/* `store` holds 1000 bytes, byte i of it is pattern_at(start + i). */
static void check_ends(struct byre_store *store, uint64_t start)
{
    assert_int_equal(size_of(store), 1000);
    for (size_t i = 0; i < sizeof(end_cases) / sizeof(end_cases[0]); i++) {
        const struct end_case *c = &end_cases[i];
        uint8_t want[100] = { 0 };
        uint8_t got[101];

        pattern_fill(want, c->data_bytes, start + c->offset);
        memset(got, 0xee, sizeof(got));
        if (store_read(store, c->offset, got, c->length, NULL) != BYRE_OK)
            fail_msg("%s: not read", c->name);
        if (memcmp(got, want, c->length) != 0)
            fail_msg("%s: other bytes", c->name);
        assert_int_equal(got[c->length], 0xee);
    }
    assert_extent(store, 0, 1000, BYRE_STORE_DATA);
    assert_extent(store, 1000, 4096, BYRE_STORE_HOLE);
    assert_extent(store, (uint64_t)INT64_MAX - 10, 100, BYRE_STORE_HOLE);
    assert_extent(store, UINT64_MAX - 100, 100, BYRE_STORE_HOLE);
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

static void test_file_ends(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;

    write_pattern(scratch->fd, 1000, 0);
    assert_int_equal(file_store_open(scratch->path, 0, &store, NULL), BYRE_OK);
    check_ends(store, 0);
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

    assert_int_equal(store_zero(store, 2, 4, NULL), BYRE_OK);
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
    assert_int_equal(store_zero(store, 0, 5, &err), BYRE_E_UNSUPPORTED);
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
        const bool has_close = c->size >= KNOWN_BYTES;
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
        assert_int_equal(store_write(store, 0, "x", 1, NULL),
                         BYRE_E_UNSUPPORTED);
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

/* ---- Files ---- */

static void test_file_extents(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;

    assert_int_equal(ftruncate(scratch->fd, (off_t)(3 * MIB)), 0);
    write_pattern(scratch->fd, MIB, MIB);
    if (lseek(scratch->fd, 0, SEEK_DATA) != (off_t)MIB) {
        print_message("the file system of /tmp does not tell of holes\n");
        skip();
    }

    assert_int_equal(file_store_open(scratch->path, 0, &store, NULL), BYRE_OK);
    assert_string_equal(store->protocol, "file");
    assert_int_equal(size_of(store), 3 * MIB);
    assert_extent(store, 0, MIB, BYRE_STORE_HOLE);
    assert_extent(store, 1000, MIB - 1000, BYRE_STORE_HOLE);
    assert_extent(store, MIB, MIB, BYRE_STORE_DATA);
    assert_extent(store, MIB + 4095, 1, BYRE_STORE_DATA);
    assert_extent(store, 2 * MIB, 5 * MIB, BYRE_STORE_HOLE);
    assert_in_range(store_allocated_bytes(store), MIB, 2 * MIB);
    byre_store_unref(store);
}

static void test_file_writes(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    uint8_t buf[8];

    write_pattern(scratch->fd, 1000, 0);
    assert_int_equal(
        file_store_open(scratch->path, FILE_STORE_WRITE, &store, NULL),
        BYRE_OK);
    assert_int_equal(store_write(store, 2000, "abc", 3, NULL), BYRE_OK);
    assert_int_equal(store_zero(store, 500, 100, NULL), BYRE_OK);
    assert_int_equal(store_flush(store, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 2003);
    assert_int_equal(store_resize(store, 2002, NULL), BYRE_OK);
    byre_store_unref(store);

    assert_int_equal(pread(scratch->fd, buf, 8, 1999), 3);
    assert_memory_equal(buf, "\0ab", 3);
    assert_int_equal(pread(scratch->fd, buf, 8, 498), 8);
    assert_true(buf[1] != 0 && all_bytes_are(buf + 2, 6, 0));
}

static void test_file_read_only(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;

    write_pattern(scratch->fd, 1000, 0);
    assert_int_equal(file_store_open(scratch->path, 0, &store, NULL), BYRE_OK);
    assert_true(store_write(store, 0, "abc", 3, NULL) < 0);
    assert_true(store_resize(store, 3, NULL) < 0);
    check_ends(store, 0);
    byre_store_unref(store);
}

static void test_file_create(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    struct byre_error err = { 0 };

    write_pattern(scratch->fd, 1000, 0);
    assert_int_equal(file_store_open(scratch->path,
                                     FILE_STORE_WRITE | FILE_STORE_CREATE,
                                     &store, &err),
                     BYRE_E_IO);
    assert_int_equal(err.sys_errno, EEXIST);
    assert_null(store);

    assert_int_equal(file_store_open(scratch->path,
                                     FILE_STORE_WRITE | FILE_STORE_TRUNCATE,
                                     &store, &err),
                     BYRE_OK);
    assert_int_equal(size_of(store), 0);
    byre_store_unref(store);

    unlink(scratch->path);
    store = NULL;
    assert_int_equal(file_store_open(scratch->path, 0, &store, &err),
                     BYRE_E_IO);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_int_equal(file_store_open(scratch->path,
                                     FILE_STORE_WRITE | FILE_STORE_CREATE,
                                     &store, &err),
                     BYRE_OK);
    assert_int_equal(size_of(store), 0);
    byre_store_unref(store);
}

/* Neither is a disk; reading from them would block or fail later. */
static void test_file_kinds(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    struct byre_error err = { 0 };

    assert_true(file_store_open("/tmp", 0, &store, &err) < 0);
    assert_true(err.message[0] != '\0');

    unlink(scratch->path);
    assert_int_equal(mkfifo(scratch->path, 0600), 0);
    assert_true(file_store_open(scratch->path, 0, &store, &err) < 0);
    assert_null(store);
}

static void test_file_duplicates_fd(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    const int fd = open(scratch->path, O_RDONLY | O_CLOEXEC);

    write_pattern(scratch->fd, 1000, 0);
    assert_true(fd >= 0);
    assert_int_equal(file_store_open_fd(fd, &store, NULL), BYRE_OK);
    assert_int_equal(close(fd), 0); /* still the caller's */
    check_ends(store, 0);
    byre_store_unref(store);
    store = NULL;
    assert_int_equal(file_store_open_fd(fd, &store, NULL), BYRE_E_IO);
    assert_int_equal(file_store_open_fd(-1, &store, NULL), BYRE_E_IO);
    assert_null(store);
}

static void test_file_identity(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *first = NULL;
    struct byre_store *second = NULL;

    assert_int_equal(file_store_open(scratch->path, 0, &first, NULL), BYRE_OK);
    assert_int_equal(file_store_open_fd(scratch->fd, &second, NULL), BYRE_OK);
    assert_true(first->identity.known && second->identity.known);
    assert_true(first->identity.device == second->identity.device);
    assert_true(first->identity.inode == second->identity.inode);
    byre_store_unref(first);
    byre_store_unref(second);
}

/* Direct I/O is aligned, but files end anywhere; reads are complete anyway. */
static void test_file_direct(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    uint8_t *buf = aligned_alloc(4096, 8192);

    assert_non_null(buf);
    write_pattern(scratch->fd, 8300, 0);
    if (file_store_open(scratch->path, FILE_STORE_DIRECT, &store, NULL) < 0) {
        print_message("the file system of /tmp has no direct I/O\n");
        free(buf);
        skip();
    }
    assert_int_equal(store_read(store, 4096, buf, 8192, NULL), BYRE_OK);
    assert_int_equal(buf[0], pattern_at(4096));
    assert_int_equal(buf[4203], pattern_at(8299));
    assert_true(all_bytes_are(buf + 4204, 8192 - 4204, 0));
    free(buf);
    byre_store_unref(store);
}

/* Puts the scratch file behind a loop device; -1 where that is not allowed. */
static int loop_device_open(const struct scratch *scratch, char *ret_path,
                            size_t capacity)
{
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int index;
    int fd;

    if (control < 0)
        return -1;
    index = ioctl(control, LOOP_CTL_GET_FREE);
    close(control);
    if (index < 0)
        return -1;

    snprintf(ret_path, capacity, "/dev/loop%d", index);
    fd = open(ret_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (ioctl(fd, LOOP_SET_FD, scratch->fd) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void test_file_block_device(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    char path[32];
    uint8_t byte = 0;
    int fd;

    assert_int_equal(ftruncate(scratch->fd, (off_t)MIB), 0);
    write_pattern(scratch->fd, 4096, MIB - 4096);
    fd = loop_device_open(scratch, path, sizeof(path));
    if (fd < 0) {
        print_message("no loop device can be set up here\n");
        skip();
    }

    assert_int_equal(file_store_open(path, 0, &store, NULL), BYRE_OK);
    assert_string_equal(store->protocol, "host_device");
    assert_int_equal(size_of(store), MIB);
    assert_int_equal(store_read(store, MIB - 1, &byte, 1, NULL), BYRE_OK);
    assert_int_equal(byte, pattern_at(MIB - 1));
    assert_extent(store, MIB, 4096, BYRE_STORE_HOLE);
    byre_store_unref(store);
    ioctl(fd, LOOP_CLR_FD, 0);
    close(fd);
}

/* ---- Locks ---- */

#define WRITER_USES (FILE_LOCK_READ | FILE_LOCK_WRITE | FILE_LOCK_RESIZE)
#define UNSHARED    (FILE_LOCK_WRITE | FILE_LOCK_RESIZE)

struct lock_case {
    const char *name;
    unsigned first_used;
    unsigned first_unshared;
    unsigned second_used;
    unsigned second_unshared;
    int want;
};

/* clang-format off */
static const struct lock_case lock_cases[] = {
    { "two readers", FILE_LOCK_READ, UNSHARED,
                     FILE_LOCK_READ, UNSHARED, BYRE_OK },
    { "a reader, then a writer", FILE_LOCK_READ, UNSHARED,
                                 WRITER_USES, 0, BYRE_E_LOCKED },
    { "a writer, then a reader", WRITER_USES, 0,
                                 FILE_LOCK_READ, UNSHARED, BYRE_E_LOCKED },
    { "a writer, then a reader that shares", WRITER_USES, UNSHARED,
                                             FILE_LOCK_READ, 0, BYRE_OK },
    { "two writers", WRITER_USES, UNSHARED,
                     WRITER_USES, UNSHARED, BYRE_E_LOCKED },
    { "nothing held", 0, 0, WRITER_USES, UNSHARED, BYRE_OK },
};
/* clang-format on */

static void check_lock_case(const struct lock_case *c, const char *path)
{
    struct byre_store *first = NULL;
    struct byre_store *second = NULL;
    struct byre_error err = { 0 };
    int r;

    assert_int_equal(file_store_open(path, FILE_STORE_WRITE, &first, NULL),
                     BYRE_OK);
    assert_int_equal(file_store_open(path, FILE_STORE_WRITE, &second, NULL),
                     BYRE_OK);
    assert_int_equal(file_store_lock(first, c->first_used, c->first_unshared,
                                     "disk.img", &err),
                     BYRE_OK);
    r = file_store_lock(second, c->second_used, c->second_unshared, "disk.img",
                        &err);
    if (r != c->want)
        fail_msg("%s: %d, not %d", c->name, r, c->want);
    if (r < 0)
        assert_non_null(strstr(err.message, "disk.img"));

    /* Closing gives the locks back. */
    byre_store_unref(first);
    if (file_store_lock(second, c->second_used, c->second_unshared, "disk.img",
                        &err) < 0)
        fail_msg("%s: still locked after close", c->name);
    byre_store_unref(second);
}

static void test_file_locks(void **state)
{
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(lock_cases) / sizeof(lock_cases[0]); i++)
        check_lock_case(&lock_cases[i], scratch->path);
}

static void test_memory_lock(void **state)
{
    struct byre_store *store = memory_of_pattern(10);

    (void)state;
    assert_int_equal(
        file_store_lock(store, WRITER_USES, UNSHARED, "memory", NULL), BYRE_OK);
    byre_store_unref(store);
}

#define FILE_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_ends),
        cmocka_unit_test(test_memory_grows),
        cmocka_unit_test(test_memory_write_limits),
        cmocka_unit_test(test_memory_empty),
        cmocka_unit_test(test_memory_concurrent_readers),
        cmocka_unit_test(test_caller_least_functions),
        cmocka_unit_test(test_caller_fails),
        cmocka_unit_test(test_caller_extent_nonsense),
        cmocka_unit_test(test_caller_sizes),
        cmocka_unit_test(test_caller_required),
        cmocka_unit_test(test_slice_ends),
        cmocka_unit_test(test_slice_sizes),
        cmocka_unit_test(test_slice_wrap),
        FILE_TEST(test_file_ends),
        FILE_TEST(test_file_extents),
        FILE_TEST(test_file_writes),
        FILE_TEST(test_file_read_only),
        FILE_TEST(test_file_create),
        FILE_TEST(test_file_kinds),
        FILE_TEST(test_file_duplicates_fd),
        FILE_TEST(test_file_identity),
        FILE_TEST(test_file_direct),
        FILE_TEST(test_file_block_device),
        FILE_TEST(test_file_locks),
        cmocka_unit_test(test_memory_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
