/* SPDX-License-Identifier: MIT */
#include "store/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

#ifdef F_OFD_SETLK

#define USED_BYTE     100
#define UNSHARED_BYTE 200
#define PERMISSIONS   4

static const char *const permission_names[PERMISSIONS] = {
    "consistent read", "write", "write unchanged", "resize"
};

static int lock_byte(int fd, int command, short type, off_t byte,
                     struct flock *ret_lock)
{
    *ret_lock = (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
    };
    return fcntl(fd, command, ret_lock);
}

static int take_locks(int fd, unsigned permissions, off_t first_byte,
                      const char *name, struct byre_error *err)
{
    struct flock lock;

    for (unsigned i = 0; i < PERMISSIONS; i++) {
        if ((permissions & 1u << i) == 0)
            continue;
        if (lock_byte(fd, F_OFD_SETLK, F_RDLCK, first_byte + (off_t)i, &lock) <
            0)
            return fail(err, BYRE_E_LOCKED,
                        "Failed to lock byte %u of '%s': %s",
                        (unsigned)first_byte + i, name, strerror(errno));
    }
    return BYRE_OK;
}

/* Fails if somebody else holds one of the bytes that contradict us. */
static int test_locks(int fd, unsigned permissions, off_t first_byte,
                      const char *shared, const char *name,
                      struct byre_error *err)
{
    struct flock lock;

    for (unsigned i = 0; i < PERMISSIONS; i++) {
        if ((permissions & 1u << i) == 0)
            continue;
        if (lock_byte(fd, F_OFD_GETLK, F_WRLCK, first_byte + (off_t)i, &lock) ==
                0 &&
            lock.l_type == F_UNLCK)
            continue;
        return fail(err, BYRE_E_LOCKED,
                    "Failed to get %s\"%s\" lock; Is another process using "
                    "the image [%s]?",
                    shared, permission_names[i], name);
    }
    return BYRE_OK;
}

static bool system_has_locks(int fd)
{
    struct flock lock;

    return lock_byte(fd, F_OFD_GETLK, F_WRLCK, 0, &lock) == 0;
}

int file_lock_take(int fd, unsigned used, unsigned unshared, const char *name,
                   struct byre_error *err)
{
    int r;

    if (!system_has_locks(fd))
        return BYRE_OK;

    r = take_locks(fd, used, USED_BYTE, name, err);
    if (r == BYRE_OK)
        r = take_locks(fd, unshared, UNSHARED_BYTE, name, err);
    if (r == BYRE_OK)
        r = test_locks(fd, used, UNSHARED_BYTE, "", name, err);
    if (r == BYRE_OK)
        r = test_locks(fd, unshared, USED_BYTE, "shared ", name, err);
    return r;
}

void file_lock_release(int fd)
{
    struct flock all = { .l_type = F_UNLCK,
                         .l_whence = SEEK_SET,
                         .l_start = USED_BYTE,
                         .l_len = UNSHARED_BYTE + PERMISSIONS - USED_BYTE };

    fcntl(fd, F_OFD_SETLK, &all);
}

#else

int file_lock_take(int fd, unsigned used, unsigned unshared, const char *name,
                   struct byre_error *err)
{
    (void)fd;
    (void)used;
    (void)unshared;
    (void)name;
    (void)err;
    return BYRE_OK;
}

void file_lock_release(int fd)
{
    (void)fd;
}

#endif
