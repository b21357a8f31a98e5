/* SPDX-License-Identifier: MIT */
/*
 * Without this test files and block devices could be read wrongly at their end,
 * their holes go unseen, and what is opened not be what was asked for.
 */
#include "base/arith.h"
#include "store/file_store.h"
#include "store_scratch.h"

static void test_file_ends(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;

    write_pattern(scratch->fd, 1000, 0);
    assert_int_equal(file_store_open(scratch->path, 0, &store, NULL), BYRE_OK);
    check_ends(store, 0);
    byre_store_unref(store);
}

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
    assert_int_equal(store_zero(store, 500, 100, 0, NULL), BYRE_OK);
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
    assert_int_equal(store_write(store, 0, "abc", 3, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_resize(store, 3, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_zero(store, 0, 3, 0, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(store_discard(store, 0, 1000, NULL), BYRE_OK);
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

/* A descriptor stays as its owner has it: position, locks and all. */
static void test_file_descriptor_is_the_callers(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL, *writer = NULL;
    uint64_t length;
    uint32_t kind;

    write_pattern(scratch->fd, 10000, 0);
    assert_int_equal(lseek(scratch->fd, 5, SEEK_SET), 5);
    assert_int_equal(file_store_open_fd(scratch->fd, 0, &store, NULL), BYRE_OK);
    assert_int_equal(store_extent(store, 0, 10000, &kind, &length, NULL),
                     BYRE_OK);
    assert_int_equal(
        file_store_lock(store, FILE_LOCK_READ, FILE_LOCK_WRITE, "it", NULL),
        BYRE_OK);
    assert_int_equal(lseek(scratch->fd, 0, SEEK_CUR), 5);

    assert_int_equal(
        file_store_open(scratch->path, FILE_STORE_WRITE, &writer, NULL),
        BYRE_OK);
    assert_int_equal(file_store_lock(writer, FILE_LOCK_WRITE, 0, "it", NULL),
                     BYRE_E_LOCKED);
    byre_store_unref(writer);
    byre_store_unref(store);

    assert_int_equal(
        file_store_open(scratch->path, FILE_STORE_WRITE, &writer, NULL),
        BYRE_OK);
    assert_int_equal(file_store_lock(writer, FILE_LOCK_WRITE, 0, "it", NULL),
                     BYRE_OK);
    byre_store_unref(writer);
}

/* Direct I/O goes on through the page cache where a piece is not aligned. */
static void test_file_direct_unaligned(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = NULL;
    uint8_t got[6], *page = NULL;

    assert_int_equal(posix_memalign((void **)&page, 4096, 8192), 0);
    memset(page, 'a', 8192);
    assert_int_equal(file_store_open(scratch->path,
                                     FILE_STORE_WRITE | FILE_STORE_DIRECT,
                                     &store, NULL),
                     BYRE_OK);
    assert_int_equal(store_write(store, 0, page, 8192, NULL), BYRE_OK);
    assert_int_equal(store_write(store, 8191, "xyz", 3, NULL), BYRE_OK);
    assert_int_equal(store_write(store, 4096, page, 4094, NULL), BYRE_OK);
    assert_int_equal(store_read(store, 8189, got, 6, NULL), BYRE_OK);
    assert_memory_equal(got, "aaxyz", 6);
    byre_store_unref(store);
    free(page);
}

/* Reads of any alignment and length too, and what is aligned before them. */
static void test_file_direct_reads(void **state)
{
    /* clang-format off */
    static const struct { uint64_t offset; size_t length, shift; } cases[] = {
        { 0, 8192, 0 }, { 4096, 4096, 0 }, { 4096, 8192, 0 }, { 1, 1, 0 },
        { 511, 4099, 0 }, { 0, 4096, 8 }, { 8192, 4096, 0 }, { 512, 512, 512 },
    };
    /* clang-format on */
    struct scratch *scratch = *state;
    uint8_t *buf = aligned_alloc(4096, 16384), want[8192];

    assert_non_null(buf);
    write_pattern(scratch->fd, 10000, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byre_store *store = open_store(scratch->path, FILE_STORE_DIRECT);
        uint8_t *got = buf + cases[i].shift;
        const size_t length = cases[i].length;

        memset(want, 0, sizeof(want));
        pattern_fill(want, min_u64(length, 10000 - cases[i].offset),
                     cases[i].offset);
        memset(buf, 0xee, 16384);
        assert_int_equal(store_read(store, 4096, buf, 4096, NULL), BYRE_OK);
        assert_int_equal(store_read(store, cases[i].offset, got, length, NULL),
                         BYRE_OK);
        assert_memory_equal(got, want, length);
        byre_store_unref(store);
    }
    free(buf);
}

/* What the description of the store's own descriptor says. */
static int store_fd_flags(struct byre_store *store)
{
    return fcntl(file_store_of(store)->fd, F_GETFL);
}

/* Aligned reads stay direct, up to the end of the file and past it. */
static void test_file_direct_stays(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_store(scratch->path, FILE_STORE_DIRECT);
    uint8_t *buf = aligned_alloc(4096, 16384);

    assert_non_null(buf);
    write_pattern(scratch->fd, 10000, 0);
    if ((store_fd_flags(store) & O_DIRECT) == 0) {
        print_message("the file system of /tmp has no direct I/O\n");
        byre_store_unref(store);
        free(buf);
        skip();
    }
    assert_int_equal(store_read(store, 0, buf, 16384, NULL), BYRE_OK);
    assert_int_equal(buf[9999], pattern_at(9999));
    assert_true(all_bytes_are(buf + 10000, 6384, 0));
    assert_true(store_fd_flags(store) & O_DIRECT);
    assert_int_equal(store_read(store, 1, buf, 1, NULL), BYRE_OK);
    assert_false(store_fd_flags(store) & O_DIRECT);
    byre_store_unref(store);
    free(buf);
}

/* A descriptor gives no more than its owner has. */
static void test_file_descriptor_access(void **state)
{
    struct scratch *scratch = *state;
    const int reader = open(scratch->path, O_RDONLY | O_CLOEXEC);
    struct byre_store *store = NULL;
    struct byre_error err = { .message = "" };

    assert_true(reader >= 0);
    assert_int_equal(file_store_open_fd(reader, FILE_STORE_WRITE, &store, &err),
                     BYRE_E_STATE);
    assert_non_null(strstr(err.message, "open for reading only"));
    assert_null(store);
    assert_int_equal(fcntl(scratch->fd, F_SETFL, O_APPEND), 0);
    assert_int_equal(
        file_store_open_fd(scratch->fd, FILE_STORE_WRITE, &store, &err),
        BYRE_E_STATE);
    assert_non_null(strstr(err.message, "open for appending"));
    assert_int_equal(fcntl(scratch->fd, F_SETFL, 0), 0);

    assert_int_equal(file_store_open_fd(scratch->fd,
                                        FILE_STORE_WRITE | FILE_STORE_DIRECT,
                                        &store, &err),
                     BYRE_OK);
    assert_int_equal(store_write(store, 0, "abc", 3, NULL), BYRE_OK);
    assert_int_equal(size_of(store), 3);
    assert_false(fcntl(scratch->fd, F_GETFL) & O_DIRECT);
    byre_store_unref(store);

    /* Without the flag it is a store to read, whatever the descriptor is. */
    assert_int_equal(file_store_open_fd(scratch->fd, 0, &store, &err), BYRE_OK);
    assert_int_equal(store_write(store, 0, "abc", 3, NULL), BYRE_E_UNSUPPORTED);
    byre_store_unref(store);
    close(reader);
}

/* A flush that is asked of a dead descriptor shows which store makes calls. */
static void test_file_no_sync(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *lazy =
        open_store(scratch->path, FILE_STORE_WRITE | FILE_STORE_NO_SYNC);
    struct byre_store *store = open_store(scratch->path, FILE_STORE_WRITE);
    struct byre_error err = { .message = "" };
    int pipe_fds[2];

    assert_int_equal(store_flush(lazy, NULL), BYRE_OK);
    assert_int_equal(store_flush(store, NULL), BYRE_OK);
    assert_int_equal(pipe(pipe_fds), 0);
    dup2(pipe_fds[0], file_store_of(lazy)->fd);
    dup2(pipe_fds[0], file_store_of(store)->fd);
    assert_int_equal(store_flush(lazy, NULL), BYRE_OK);
    assert_int_equal(store_flush(store, &err), BYRE_E_IO);
    assert_int_equal(err.sys_errno, EINVAL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    byre_store_unref(lazy);
    byre_store_unref(store);
}

static void test_sync_folder(void **state)
{
    struct scratch *scratch = *state;
    struct byre_error err = { .message = "" };

    assert_int_equal(file_store_sync_folder(scratch->path, NULL), BYRE_OK);
    assert_int_equal(file_store_sync_folder("name", NULL), BYRE_OK);
    assert_int_equal(file_store_sync_folder("/name", NULL), BYRE_OK);
    assert_int_equal(file_store_sync_folder("/no/such/folder/a", &err),
                     BYRE_E_IO);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_non_null(strstr(err.message, "'/no/such/folder'"));
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
    assert_int_equal(file_store_open_fd(fd, 0, &store, NULL), BYRE_OK);
    assert_int_equal(close(fd), 0); /* still the caller's */
    check_ends(store, 0);
    byre_store_unref(store);
    store = NULL;
    assert_int_equal(file_store_open_fd(fd, 0, &store, NULL), BYRE_E_IO);
    assert_int_equal(file_store_open_fd(-1, 0, &store, NULL), BYRE_E_IO);
    assert_null(store);
}

static void test_file_identity(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *first = NULL;
    struct byre_store *second = NULL;

    assert_int_equal(file_store_open(scratch->path, 0, &first, NULL), BYRE_OK);
    assert_int_equal(file_store_open_fd(scratch->fd, 0, &second, NULL),
                     BYRE_OK);
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
    loop_device_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        FILE_TEST(test_file_descriptor_is_the_callers),
        FILE_TEST(test_file_direct_unaligned),
        FILE_TEST(test_file_direct_reads),
        FILE_TEST(test_file_direct_stays),
        FILE_TEST(test_file_descriptor_access),
        FILE_TEST(test_file_no_sync),
        FILE_TEST(test_sync_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
