/* SPDX-License-Identifier: MIT */
/*
 * Space: zeroing, freeing and reserving it.  What a file system or device
 * cannot do is told from what fails: the first leaves the range as it was and
 * has a way round, the second is reported.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/falloc.h>
#include <linux/fs.h>
#endif

#include "base/arith.h"
#include "base/error.h"
#include "store/file.h"
#include "store/file_store.h"

/* What systems say to a call, or to a range, that is not for them. */
static bool is_unsupported(int sys_errno)
{
    return sys_errno == EOPNOTSUPP || sys_errno == ENOTTY ||
           sys_errno == ENODEV || sys_errno == ENOSYS || sys_errno == EINVAL;
}

/* Ends the range where the file ends: nothing is to be stored past that. */
static int clip_to_end(struct file_store *file, uint64_t offset,
                       uint64_t *length, struct byre_error *err)
{
    uint64_t size = 0;
    int r;

    r = file_get_size(file, &size, err);
    if (r < 0)
        return r;
    *length = offset < size ? min_u64(*length, size - offset) : 0;
    return BYRE_OK;
}

#ifdef FALLOC_FL_PUNCH_HOLE

static int allocate(const struct file_store *file, int mode, uint64_t offset,
                    uint64_t length)
{
    int r;

    do {
        r = fallocate(file->fd, mode, (off_t)offset, (off_t)length);
    } while (r < 0 && errno == EINTR);
    return r;
}

/* The ways to zero a range, from what frees the most space to the least. */
enum zero_way { ZERO_BY_HOLE, ZERO_BY_RANGE, ZERO_BY_DEVICE, ZERO_WAYS };

static int zero_by(const struct file_store *file, enum zero_way way,
                   uint64_t offset, uint64_t length)
{
    uint64_t range[2] = { offset, length };

    switch (way) {
    case ZERO_BY_HOLE:
        return allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        offset, length);
    case ZERO_BY_RANGE:
        return allocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                        offset, length);
    case ZERO_BY_DEVICE:
        return ioctl(file->fd, BLKZEROOUT, range);
    case ZERO_WAYS:
        break;
    }
    errno = ENOSYS;
    return -1;
}

static int zero_range(const struct file_store *file, uint64_t offset,
                      uint64_t length, uint32_t flags, struct byre_error *err)
{
    const int first =
        flags & BYRE_STORE_MAY_UNMAP ? ZERO_BY_HOLE : ZERO_BY_RANGE;
    const int end = file->block_device ? ZERO_WAYS : ZERO_BY_DEVICE;

    for (int way = first; way < end; way++) {
        if (zero_by(file, (enum zero_way)way, offset, length) == 0)
            return BYRE_OK;
        if (!is_unsupported(errno))
            return fail_errno(err, errno, "cannot zero %llu bytes at %llu",
                              (unsigned long long)length,
                              (unsigned long long)offset);
    }
    return fail(err, BYRE_E_UNSUPPORTED,
                "the system cannot zero %llu bytes at %llu by itself",
                (unsigned long long)length, (unsigned long long)offset);
}

/* A part of a device's block, which only a write can zero. */
static int zero_part(struct file_store *file, uint64_t offset, uint64_t length,
                     struct byre_error *err)
{
    static alignas(DIRECT_ALIGNMENT) const uint8_t zeroes[DIRECT_ALIGNMENT];

    return length == 0 ? BYRE_OK
                       : file_write(file, offset, zeroes, (size_t)length, err);
}

/* Devices zero whole blocks; what is left at the ends is written. */
static int zero_device(struct file_store *file, uint64_t offset,
                       uint64_t length, uint32_t flags, struct byre_error *err)
{
    const uint64_t end = offset + length;
    const uint64_t first = align_up(offset, DIRECT_ALIGNMENT);
    const uint64_t last = align_down(end, DIRECT_ALIGNMENT);
    int r;

    if (first >= last)
        return fail(err, BYRE_E_UNSUPPORTED, "no whole block to zero");
    r = zero_range(file, first, last - first, flags, err);
    if (r == BYRE_OK)
        r = zero_part(file, offset, first - offset, err);
    if (r == BYRE_OK)
        r = zero_part(file, last, end - last, err);
    return r;
}

int file_zero(void *user, uint64_t offset, uint64_t length, uint32_t flags,
              struct byre_error *err)
{
    struct file_store *file = user;
    int r;

    r = clip_to_end(file, offset, &length, err);
    if (r < 0 || length == 0)
        return r;
    return file->block_device ? zero_device(file, offset, length, flags, err)
                              : zero_range(file, offset, length, flags, err);
}

/* Whole blocks only: a device may round in the wrong direction. */
static int discard_device(const struct file_store *file, uint64_t offset,
                          uint64_t length)
{
    const uint64_t first = align_up(offset, DIRECT_ALIGNMENT);
    const uint64_t last = align_down(offset + length, DIRECT_ALIGNMENT);
    uint64_t range[2] = { first, last - first };

    return first >= last ? 0 : ioctl(file->fd, BLKDISCARD, range);
}

int file_discard(void *user, uint64_t offset, uint64_t length,
                 struct byre_error *err)
{
    struct file_store *file = user;
    int r;

    r = clip_to_end(file, offset, &length, err);
    if (r < 0 || length == 0)
        return r;

    r = file->block_device ? discard_device(file, offset, length)
                           : zero_by(file, ZERO_BY_HOLE, offset, length);
    if (r < 0 && !is_unsupported(errno))
        return fail_errno(err, errno, "cannot discard %llu bytes at %llu",
                          (unsigned long long)length,
                          (unsigned long long)offset);
    return BYRE_OK;
}

#else

int file_zero(void *user, uint64_t offset, uint64_t length, uint32_t flags,
              struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)length;
    (void)flags;
    return fail(err, BYRE_E_UNSUPPORTED, "the system cannot zero by itself");
}

int file_discard(void *user, uint64_t offset, uint64_t length,
                 struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)length;
    (void)err;
    return BYRE_OK;
}

#endif

int file_store_preallocate(struct byre_store *store, uint64_t offset,
                           uint64_t length, struct byre_error *err)
{
    const struct file_store *file = file_store_of(store);
    int sys_errno = EOPNOTSUPP;

    if (!range_within(offset, length, STORE_MAX_OFFSET))
        return fail(err, BYRE_E_INVALID,
                    "the space to reserve ends past the limit of %llu",
                    (unsigned long long)STORE_MAX_OFFSET);
#ifdef FALLOC_FL_PUNCH_HOLE
    if (file != NULL && !file->block_device) {
        if (length == 0 || allocate(file, 0, offset, length) == 0)
            return BYRE_OK;
        sys_errno = errno;
    }
#endif
    if (file == NULL || file->block_device || is_unsupported(sys_errno))
        return fail(err, BYRE_E_UNSUPPORTED,
                    "space cannot be reserved here without writing it");
    return fail_errno(err, sys_errno, "cannot reserve %llu bytes at %llu",
                      (unsigned long long)length, (unsigned long long)offset);
}

int file_store_set_nocow(struct byre_store *store, struct byre_error *err)
{
#ifdef FS_NOCOW_FL
    const struct file_store *file = file_store_of(store);
    int flags = 0;

    if (file == NULL || file->block_device)
        return BYRE_OK;
    if (ioctl(file->fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        if (ioctl(file->fd, FS_IOC_SETFLAGS, &flags) == 0)
            return BYRE_OK;
    }
    if (!is_unsupported(errno))
        return fail_errno(err, errno, "cannot switch copy-on-write off");
#else
    (void)store;
    (void)err;
#endif
    return BYRE_OK;
}
