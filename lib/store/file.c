/* SPDX-License-Identifier: MIT */
/*
 * pread() and pwrite() take their offset, so threads share one descriptor
 * without a lock.  lseek() for holes returns its answer; nobody uses the file
 * position it leaves behind.
 */
#include "store/file_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#endif

#include "base/arith.h"
#include "base/error.h"

/*
 * Direct I/O is for aligned pieces; with the first that is not, the file goes
 * on through the page cache.  The kernel keeps the two ways coherent.
 */
static void leave_direct(struct file_store *file)
{
    fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_DIRECT);
    atomic_store(&file->direct, false);
}

static bool is_direct(struct file_store *file)
{
    return atomic_load_explicit(&file->direct, memory_order_relaxed);
}

static void leave_direct_unless_aligned(struct file_store *file,
                                        uint64_t offset, const void *buf,
                                        size_t length)
{
    const uint64_t all = offset | length | (uintptr_t)buf;

    if (is_direct(file) && !is_aligned(all, DIRECT_ALIGNMENT))
        leave_direct(file);
}

/*
 * Whether a call that failed may be made again.  A device may ask for more than
 * alignment, if the call was `direct`; then the page cache takes it.
 */
static bool may_try_again(struct file_store *file, bool direct, int sys_errno)
{
    if (sys_errno == EINTR)
        return true;
    if (sys_errno != EINVAL || !direct)
        return false;
    leave_direct(file);
    return true;
}

static int file_read(void *user, uint64_t offset, void *buf, size_t length,
                     struct byre_error *err)
{
    struct file_store *file = user;
    uint8_t *p = buf;

    leave_direct_unless_aligned(file, offset, buf, length);
    while (length > 0) {
        const bool direct = is_direct(file);
        const ssize_t n = pread(file->fd, p, length, (off_t)offset);

        if (n < 0 && may_try_again(file, direct, errno))
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

int file_write(void *user, uint64_t offset, const void *buf, size_t length,
               struct byre_error *err)
{
    struct file_store *file = user;
    const uint8_t *p = buf;

    leave_direct_unless_aligned(file, offset, buf, length);
    while (length > 0) {
        const bool direct = is_direct(file);
        const ssize_t n = pwrite(file->fd, p, length, (off_t)offset);

        if (n < 0 && may_try_again(file, direct, errno))
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

int file_get_size(void *user, uint64_t *ret_size_bytes, struct byre_error *err)
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

    if (!file->no_sync && fdatasync(file->fd) < 0)
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

static void file_close(void *user)
{
    struct file_store *file = user;

    if (file->shares_locks)
        file_lock_release(file->fd, &file->held);
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
    .discard = file_discard,
};

struct file_store *file_store_of(struct byre_store *store)
{
    return store->ops.read == file_read ? store->user : NULL;
}

void file_store_enable_writing(struct byre_store *store)
{
    store->ops.write = file_ops.write;
    store->ops.resize = file_ops.resize;
    store->ops.zero = file_ops.zero;
    store->ops.discard = file_ops.discard;
}

int file_store_new(struct file_store *file, bool writable,
                   struct byre_store **ret_store, struct byre_error *err)
{
    struct byre_store_ops ops = file_ops;
    int r;

    if (file->block_device)
        ops.extent = NULL; /* a device has no holes to tell of */
    if (!writable) {
        ops.write = NULL;
        ops.resize = NULL;
        ops.zero = NULL;
        ops.discard = NULL;
    }
    r = store_new(&ops, file, file->block_device ? "host_device" : "file",
                  ret_store, err);
    if (r < 0)
        return r;
    (*ret_store)->allocated = file_allocated;
    (*ret_store)->make_writable = file_make_writable;
    return BYRE_OK;
}
