/* SPDX-License-Identifier: MIT */
/*
 * pread() and pwrite() take their offset, so threads share one descriptor
 * without a lock.  lseek() for holes returns its answer; nobody uses the file
 * position it leaves behind.
 */
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/falloc.h>
#include <linux/fs.h>
#endif

#include "base/arith.h"
#include "base/error.h"
#include "store/file_lock.h"

/* What any device takes. */
#define DIRECT_ALIGNMENT 4096

struct file_store {
    int fd;
    bool block_device;
    atomic_bool direct; /* O_DIRECT is set */
    bool shares_locks;  /* the descriptor's locks outlive it: a duplicate */
};

static int file_read(void *user, uint64_t offset, void *buf, size_t length,
                     struct byre_error *err)
{
    struct file_store *file = user;
    uint8_t *p = buf;

    while (length > 0) {
        const ssize_t n = pread(file->fd, p, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "cannot read %zu bytes at %llu",
                              length, (unsigned long long)offset);
        if (n == 0)
            break;
        p += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    memset(p, 0, length);
    return BYRE_OK;
}

/*
 * Direct I/O is for aligned pieces; with the first that is not, the file goes
 * on through the page cache.  The kernel keeps the two ways coherent.
 */
static void leave_direct(struct file_store *file, uint64_t offset,
                         const void *buf, size_t length)
{
    const uint64_t all = offset | length | (uintptr_t)buf;

    if (atomic_load_explicit(&file->direct, memory_order_relaxed) &&
        !is_aligned(all, DIRECT_ALIGNMENT)) {
        fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_DIRECT);
        atomic_store(&file->direct, false);
    }
}

static int file_write(void *user, uint64_t offset, const void *buf,
                      size_t length, struct byre_error *err)
{
    struct file_store *file = user;
    const uint8_t *p = buf;

    leave_direct(file, offset, buf, length);
    while (length > 0) {
        const ssize_t n = pwrite(file->fd, p, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_errno(err, n < 0 ? errno : ENOSPC,
                              "cannot write %zu bytes at %llu", length,
                              (unsigned long long)offset);
        p += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return BYRE_OK;
}

static int block_device_size(int fd, uint64_t *ret_size_bytes)
{
#ifdef BLKGETSIZE64
    return ioctl(fd, BLKGETSIZE64, ret_size_bytes);
#else
    const off_t end = lseek(fd, 0, SEEK_END);

    *ret_size_bytes = (uint64_t)end;
    return end < 0 ? -1 : 0;
#endif
}

static int file_get_size(void *user, uint64_t *ret_size_bytes,
                         struct byre_error *err)
{
    struct file_store *file = user;
    struct stat st;

    if (file->block_device) {
        if (block_device_size(file->fd, ret_size_bytes) < 0)
            return fail_errno(err, errno, "cannot tell the device's size");
        return BYRE_OK;
    }
    if (fstat(file->fd, &st) < 0)
        return fail_errno(err, errno, "cannot tell the file's size");
    *ret_size_bytes = (uint64_t)st.st_size;
    return BYRE_OK;
}

static int file_allocated(void *user, uint64_t *ret_bytes,
                          struct byre_error *err)
{
    struct file_store *file = user;
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return fail_errno(err, errno, "cannot tell the file's size");
    *ret_bytes = (uint64_t)st.st_blocks * 512;
    return BYRE_OK;
}

/*
 * Two lseek() calls at most.  ENXIO from SEEK_DATA means a hole up to the end;
 * any other failure means a system that cannot tell, and then all is data.
 */
static int file_extent(void *user, uint64_t offset, uint64_t length,
                       uint32_t *ret_kind, uint64_t *ret_length,
                       struct byre_error *err)
{
    struct file_store *file = user;
    off_t data = -1, hole;

    (void)err;
    *ret_kind = BYRE_STORE_DATA;
    *ret_length = length;
#ifdef SEEK_DATA
    data = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
        *ret_kind = BYRE_STORE_HOLE;
        return BYRE_OK;
    }
    if (data > (off_t)offset) {
        *ret_kind = BYRE_STORE_HOLE;
        *ret_length = min_u64(length, (uint64_t)data - offset);
        return BYRE_OK;
    }
    hole = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);
    if (hole > (off_t)offset)
        *ret_length = min_u64(length, (uint64_t)hole - offset);
#else
    (void)data;
    (void)hole;
#endif
    return BYRE_OK;
}

static int file_flush(void *user, struct byre_error *err)
{
    struct file_store *file = user;

    if (fdatasync(file->fd) < 0)
        return fail_errno(err, errno, "cannot flush");
    return BYRE_OK;
}

static int file_resize(void *user, uint64_t size_bytes, struct byre_error *err)
{
    struct file_store *file = user;
    uint64_t device_bytes;
    int r;

    if (!file->block_device) {
        if (ftruncate(file->fd, (off_t)size_bytes) < 0)
            return fail_errno(err, errno, "cannot resize to %llu bytes",
                              (unsigned long long)size_bytes);
        return BYRE_OK;
    }

    r = file_get_size(file, &device_bytes, err);
    if (r < 0)
        return r;

    if (size_bytes > device_bytes)
        return fail(err, BYRE_E_LIMIT,
                    "%llu bytes do not fit the device, which has %llu",
                    (unsigned long long)size_bytes,
                    (unsigned long long)device_bytes);
    return BYRE_OK;
}

/* Zeroes written as data, where the system offers nothing better. */
static int write_zeroes(struct file_store *file, uint64_t offset,
                        uint64_t length, struct byre_error *err)
{
    static alignas(DIRECT_ALIGNMENT) const uint8_t zeroes[65536];
    int r = BYRE_OK;

    while (length > 0 && r == BYRE_OK) {
        const size_t n = (size_t)min_u64(length, sizeof(zeroes));

        r = file_write(file, offset, zeroes, n, err);
        offset += n;
        length -= n;
    }
    return r;
}

static int file_zero(void *user, uint64_t offset, uint64_t length,
                     struct byre_error *err)
{
    struct file_store *file = user;

#ifdef FALLOC_FL_PUNCH_HOLE
    /* A device without discard can still zero a range by itself. */
    static const int modes[] = { FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE };

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (fallocate(file->fd, modes[i] | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)length) == 0)
            return BYRE_OK;
        if (errno != EOPNOTSUPP && errno != ENODEV && errno != EINVAL &&
            errno != ENOSYS)
            return fail_errno(err, errno, "cannot zero %llu bytes at %llu",
                              (unsigned long long)length,
                              (unsigned long long)offset);
    }
#endif
    return write_zeroes(file, offset, length, err);
}

static void file_close(void *user)
{
    struct file_store *file = user;

    if (file->shares_locks)
        file_lock_release(file->fd);
    close(file->fd);
    free(file);
}

static const struct byre_store_ops file_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = file_read,
    .get_size = file_get_size,
    .extent = file_extent,
    .write = file_write,
    .flush = file_flush,
    .resize = file_resize,
    .zero = file_zero,
    .close = file_close,
};

/* A device may have many nodes, and is one device all the same. */
static struct store_identity identity_of(const struct stat *st)
{
    if (S_ISBLK(st->st_mode))
        return (struct store_identity){ .known = true,
                                        .is_device = true,
                                        .device = (uint64_t)st->st_rdev };
    return (struct store_identity){ .known = true,
                                    .device = (uint64_t)st->st_dev,
                                    .inode = (uint64_t)st->st_ino };
}

/* Takes over `fd`, also on failure. */
static int store_from_fd(int fd, struct byre_store **ret_store,
                         struct byre_error *err)
{
    struct file_store *file = NULL;
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0) {
        r = fail_errno(err, errno, "cannot tell what it is");
        goto out;
    }

    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        r = fail(err, BYRE_E_UNSUPPORTED,
                 "it is %s; a regular file or a block device is needed",
                 S_ISDIR(st.st_mode)   ? "a directory"
                 : S_ISCHR(st.st_mode) ? "a character device"
                                       : "a pipe or socket");
        goto out;
    }

    file = calloc(1, sizeof(*file));
    if (file == NULL) {
        r = fail_nomem(err, "a file store", sizeof(*file));
        goto out;
    }

    file->fd = fd;
    file->block_device = S_ISBLK(st.st_mode);
    r = store_new(&file_ops, file, file->block_device ? "host_device" : "file",
                  ret_store, err);
    if (r < 0)
        goto out;

    if (file->block_device)
        (*ret_store)->ops.extent = NULL; /* a device has no holes to tell of */
    (*ret_store)->allocated = file_allocated;
    (*ret_store)->identity = identity_of(&st);
    return BYRE_OK;
out:
    free(file);
    close(fd);
    return r;
}

/*
 * O_NONBLOCK keeps open() from waiting on a pipe that an image names instead of
 * a file; it has no effect on files and block devices.
 */
static int open_flags(unsigned flags)
{
    int result = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

    result |= (flags & FILE_STORE_WRITE) ? O_RDWR : O_RDONLY;
    if (flags & FILE_STORE_CREATE)
        result |= O_CREAT | O_EXCL;
    return result;
}

/* A file system without direct I/O is used through the page cache. */
static void set_direct(struct byre_store *store)
{
    struct file_store *file = store->user;

    if (fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) | O_DIRECT) == 0)
        atomic_store(&file->direct, true);
}

int file_store_open(const char *path, unsigned flags,
                    struct byre_store **ret_store, struct byre_error *err)
{
    const int fd = open(path, open_flags(flags), 0644);
    int r;

    if (fd < 0)
        return fail_errno(err, errno, "Could not open '%s'", path);

    r = store_from_fd(fd, ret_store, err);
    if (r < 0) {
        if (flags & FILE_STORE_CREATE)
            unlink(path);
        error_prefix(err, "Could not open '%s'", path);
        return r;
    }
    if (flags & FILE_STORE_DIRECT)
        set_direct(*ret_store);
    return BYRE_OK;
}

/*
 * A description of its own, where the system gives one: a duplicate would share
 * the caller's file position, flags and locks.
 */
static int reopen(int fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, open_flags(0));
}

int file_store_open_fd(int fd, struct byre_store **ret_store,
                       struct byre_error *err)
{
    int own = reopen(fd);
    const bool shares_locks = own < 0;
    int r;

    if (own < 0)
        own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return fail_errno(err, errno, "cannot duplicate descriptor %d", fd);

    r = store_from_fd(own, ret_store, err);
    if (r == BYRE_OK)
        ((struct file_store *)(*ret_store)->user)->shares_locks = shares_locks;
    return r;
}

int file_store_lock(struct byre_store *store, unsigned used, unsigned unshared,
                    const char *name, struct byre_error *err)
{
    if (store->ops.read != file_read)
        return BYRE_OK;
    return file_lock_take(((struct file_store *)store->user)->fd, used,
                          unshared, name, err);
}
