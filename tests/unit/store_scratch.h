/* SPDX-License-Identifier: MIT */
/*
 * A temporary file for tests of file stores, and a loop device on top of it.
 */
#ifndef BYRE_TESTS_STORE_SCRATCH_H
#define BYRE_TESTS_STORE_SCRATCH_H

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

static inline int scratch_setup(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));

    assert_non_null(scratch);
    strcpy(scratch->path, "/tmp/byre-test-store-XXXXXX");
    scratch->fd = mkstemp(scratch->path);
    assert_true(scratch->fd >= 0);
    *state = scratch;
    return 0;
}

static inline int scratch_teardown(void **state)
{
    struct scratch *scratch = *state;

    close(scratch->fd);
    unlink(scratch->path);
    free(scratch);
    return 0;
}

#define FILE_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

static inline void write_pattern(int fd, size_t length, uint64_t offset)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    pattern_fill(buf, length, offset);
    assert_int_equal(pwrite(fd, buf, length, (off_t)offset), length);
    free(buf);
}

static inline struct byre_store *open_store(const char *path, unsigned flags)
{
    struct byre_store *store = NULL;
    struct byre_error err = { .message = "" };

    if (file_store_open(path, flags, &store, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

/* Puts the scratch file behind a loop device; -1 where that is not allowed. */
static inline int loop_device_open(const struct scratch *scratch,
                                   char *ret_path, size_t capacity)
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

static inline void loop_device_close(int fd)
{
    ioctl(fd, LOOP_CLR_FD, 0);
    close(fd);
}

#endif
