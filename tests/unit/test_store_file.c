/* SPDX-License-Identifier: MIT */
/*
 * Without this test files and block devices could be read wrongly at their end,
 * their holes go unseen, and QEMU's locks stop keeping two users of a file
 * apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file.h"
#include "store_cases.h"

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
    assert_int_equal(file_store_open_fd(scratch->fd, &store, NULL), BYRE_OK);
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

#define FILE_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

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
        FILE_TEST(test_file_locks),
        FILE_TEST(test_file_descriptor_is_the_callers),
        FILE_TEST(test_file_direct_unaligned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
