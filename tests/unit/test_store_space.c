/* SPDX-License-Identifier: MIT */
/*
 * Without this test a zero could give away the space it was to keep, keep what
 * it was to free, or make a file longer; and a full disk pass for a file system
 * that cannot.
 */
#include "store/file_store.h"
#include "store_scratch.h"

#define BLOCK 4096u

static uint64_t blocks_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* Asserts that the file is patterned but for a zeroed range. */
static void assert_zeroed(struct byre_store *store, uint64_t length,
                          uint64_t from, uint64_t end)
{
    uint8_t *got = malloc((size_t)length);

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

/* A patterned file of 1 MiB, and whether its file system can punch holes. */
static struct byre_store *open_pattern(const struct scratch *scratch)
{
    assert_int_equal(ftruncate(scratch->fd, 0), 0);
    write_pattern(scratch->fd, MIB, 0);
    fsync(scratch->fd);
    return open_store(scratch->path, FILE_STORE_WRITE);
}

static bool can_punch(const struct scratch *scratch)
{
    struct byre_store *store = open_pattern(scratch);
    struct file_store *file = file_store_of(store);
    const bool can = fallocate(file->fd, 3, 0, BLOCK) == 0;

    byre_store_unref(store);
    if (!can)
        print_message("the file system of /tmp has no holes\n");
    return can;
}

static void test_zero_keeps_space(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_pattern(scratch);
    const uint64_t before = blocks_of(scratch->fd);

    assert_int_equal(store_zero(store, 5000, 500000, 0, NULL), BYRE_OK);
    assert_zeroed(store, MIB, 5000, 505000);
    assert_int_equal(store_flush(store, NULL), BYRE_OK);
    assert_true(blocks_of(scratch->fd) >= before);
    byre_store_unref(store);
}

static void test_zero_may_unmap(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store;
    uint64_t before;

    if (!can_punch(scratch))
        skip();
    store = open_pattern(scratch);
    before = blocks_of(scratch->fd);
    assert_int_equal(
        store_zero(store, 5000, 500000, BYRE_STORE_MAY_UNMAP, NULL), BYRE_OK);
    assert_zeroed(store, MIB, 5000, 505000);
    assert_true(blocks_of(scratch->fd) + 400000 < before);
    byre_store_unref(store);
}

static void test_discard_frees(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store;
    uint64_t before;

    if (!can_punch(scratch))
        skip();
    store = open_pattern(scratch);
    before = blocks_of(scratch->fd);
    assert_int_equal(store_discard(store, 5000, 500000, NULL), BYRE_OK);
    assert_true(blocks_of(scratch->fd) + 400000 < before);
    assert_int_equal(size_of(store), MIB);
    byre_store_unref(store);
}

/* Nothing is stored past the end, and the file does not get longer. */
static void test_past_the_end(void **state)
{
    struct scratch *scratch = *state;
    const uint64_t far = UINT64_C(1) << 30;
    struct byre_store *store = NULL;

    for (uint32_t flags = 0; flags <= BYRE_STORE_MAY_UNMAP; flags++) {
        store = open_pattern(scratch);
        assert_int_equal(store_zero(store, MIB - 10, far, flags, NULL),
                         BYRE_OK);
        assert_int_equal(store_zero(store, MIB, far, flags, NULL), BYRE_OK);
        assert_int_equal(store_zero(store, 2 * MIB, far, flags, NULL), BYRE_OK);
        assert_zeroed(store, MIB, MIB - 10, MIB);
        assert_int_equal(store_discard(store, MIB, far, NULL), BYRE_OK);
        assert_int_equal(store_flush(store, NULL), BYRE_OK);
        assert_in_range(blocks_of(scratch->fd), 0, 2 * MIB);
        assert_int_equal(size_of(store), MIB);
        byre_store_unref(store);
    }
}

/* tmpfs cannot zero a range in place, and has it written. */
static void test_zero_written(void **state)
{
    char path[] = "/dev/shm/byre-test-XXXXXX";
    struct scratch scratch = { .fd = mkstemp(path) };
    struct byre_store *store;
    int r;

    (void)state;
    if (scratch.fd < 0) {
        print_message("no /dev/shm here\n");
        skip();
    }
    strcpy(scratch.path, path);
    store = open_pattern(&scratch);
    r = store_zero(store, 5000, 500000, 0, NULL);
    assert_zeroed(store, MIB, 5000, 505000);
    byre_store_unref(store);
    unlink(path);
    close(scratch.fd);
    assert_int_equal(r, BYRE_OK);
}

/* What fails for another reason than that it cannot be done is an error. */
static void test_real_errors(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_pattern(scratch);
    const int reader = open(scratch->path, O_RDONLY | O_CLOEXEC);
    struct byre_error err = { .message = "" };

    assert_true(reader >= 0);
    assert_true(dup2(reader, file_store_of(store)->fd) >= 0);
    assert_int_equal(store_zero(store, 0, BLOCK, 0, &err), BYRE_E_IO);
    assert_int_equal(err.sys_errno, EBADF);
    assert_int_equal(store_zero(store, 0, BLOCK, BYRE_STORE_MAY_UNMAP, &err),
                     BYRE_E_IO);
    assert_int_equal(store_discard(store, 0, BLOCK, &err), BYRE_E_IO);
    assert_non_null(strstr(err.message, "cannot discard 4096 bytes at 0"));
    assert_int_equal(file_store_preallocate(store, 0, BLOCK, &err), BYRE_E_IO);
    assert_zeroed(store, MIB, 0, 0);
    byre_store_unref(store);
    close(reader);
}

/* ---- Reserving ---- */

static void test_preallocate(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_pattern(scratch);
    struct byre_error err = { .message = "" };
    const int r = file_store_preallocate(store, MIB / 2, 4 * MIB, &err);
    uint8_t buf[64];

    if (r == BYRE_E_UNSUPPORTED) {
        print_message("the file system of /tmp cannot reserve space\n");
        byre_store_unref(store);
        skip();
    }
    assert_int_equal(r, BYRE_OK);
    assert_int_equal(size_of(store), MIB / 2 + 4 * MIB);
    assert_true(blocks_of(scratch->fd) >= MIB / 2 + 4 * MIB);
    assert_int_equal(store_read(store, MIB - 32, buf, 64, NULL), BYRE_OK);
    assert_int_equal(buf[31], pattern_at(MIB - 1));
    assert_true(all_bytes_are(buf + 32, 32, 0));

    assert_int_equal(file_store_preallocate(store, 0, 0, NULL), BYRE_OK);
    assert_int_equal(file_store_preallocate(store, 1, INT64_MAX, NULL),
                     BYRE_E_INVALID);
    /* More than there is anywhere: an error, not a thing to go round. */
    assert_int_equal(file_store_preallocate(store, 0, UINT64_C(1) << 62, &err),
                     BYRE_E_IO);
    assert_true(err.sys_errno == EFBIG || err.sys_errno == ENOSPC);
    byre_store_unref(store);
}

static void test_other_stores(void **state)
{
    struct byre_store *store = NULL;

    (void)state;
    assert_int_equal(byre_store_new_memory("abc", 3, &store, NULL), BYRE_OK);
    assert_int_equal(file_store_preallocate(store, 0, 10, NULL),
                     BYRE_E_UNSUPPORTED);
    assert_int_equal(file_store_set_nocow(store, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 3);
    byre_store_unref(store);
}

/* Only some file systems have the switch; on the others it is no error. */
static void test_nocow(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_store(scratch->path, FILE_STORE_WRITE);
    struct byre_error err = { .message = "" };

    if (file_store_set_nocow(store, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(store_write(store, 0, "abc", 3, NULL), BYRE_OK);
    byre_store_unref(store);
}

/* ---- Devices ---- */

static void fill_device(struct byre_store *store)
{
    uint8_t *buf = malloc(MIB);

    assert_non_null(buf);
    pattern_fill(buf, MIB, 0);
    assert_int_equal(store_write(store, 0, buf, MIB, NULL), BYRE_OK);
    assert_int_equal(store_flush(store, NULL), BYRE_OK);
    free(buf);
}

static void test_device(void **state)
{
    static const uint64_t ranges[][2] = {
        { 0, MIB },    { 8192, 65536 },      { 100, 50 },
        { 4000, 200 }, { 5000, 500000 },     { MIB - 5000, 9000 },
        { MIB, 4096 }, { 4096, MIB - 4096 }, { 1, MIB },
    };
    struct scratch *scratch = *state;
    struct byre_store *store;
    char path[32];
    int fd;

    assert_int_equal(ftruncate(scratch->fd, (off_t)MIB), 0);
    fd = loop_device_open(scratch, path, sizeof(path));
    if (fd < 0) {
        print_message("no loop device can be set up here\n");
        skip();
    }
    store = open_store(path, FILE_STORE_WRITE);
    for (size_t i = 0; i < 2 * sizeof(ranges) / sizeof(ranges[0]); i++) {
        const uint64_t *range = ranges[i / 2];

        fill_device(store);
        assert_int_equal(store_zero(store, range[0], range[1],
                                    i % 2 == 0 ? 0 : BYRE_STORE_MAY_UNMAP,
                                    NULL),
                         BYRE_OK);
        assert_zeroed(store, MIB, range[0], range[0] + range[1]);
    }

    /* What is not a whole block of a discarded range stays. */
    fill_device(store);
    assert_int_equal(store_discard(store, 100, 8092, NULL), BYRE_OK);
    assert_int_equal(store_discard(store, 10000, 100, NULL), BYRE_OK);
    {
        uint8_t got[4096];

        assert_int_equal(store_read(store, 0, got, 4096, NULL), BYRE_OK);
        assert_int_equal(got[4095], pattern_at(4095));
        assert_int_equal(store_read(store, 8192, got, 4096, NULL), BYRE_OK);
        assert_int_equal(got[10050 - 8192], pattern_at(10050));
    }
    assert_int_equal(file_store_preallocate(store, 0, MIB, NULL),
                     BYRE_E_UNSUPPORTED);
    assert_int_equal(file_store_set_nocow(store, NULL), BYRE_OK);
    assert_int_equal(store_resize(store, MIB + 1, NULL), BYRE_E_LIMIT);
    byre_store_unref(store);
    loop_device_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_zero_keeps_space),
        FILE_TEST(test_zero_may_unmap),
        FILE_TEST(test_discard_frees),
        FILE_TEST(test_past_the_end),
        cmocka_unit_test(test_zero_written),
        FILE_TEST(test_real_errors),
        FILE_TEST(test_preallocate),
        cmocka_unit_test(test_other_stores),
        FILE_TEST(test_nocow),
        FILE_TEST(test_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
