/* SPDX-License-Identifier: MIT */
#include "job/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/error.h"
#include "job/pipe.h"
#include "store/file.h"

#define ZEROES_BYTES 65536

/* Aligned for direct I/O. */
static alignas(4096) const uint8_t zeroes[ZEROES_BYTES];

/* ---- Opening ---- */

static int refuse_sources(const struct target *target,
                          struct byre *const *sources, size_t source_count,
                          struct byre_error *err)
{
    for (size_t i = 0; i < source_count; i++) {
        if (chain_uses_file(sources[i], &target->store->identity))
            return fail(err, BYRE_E_INVALID,
                        "the target '%s' is a file that the source '%s' reads "
                        "from",
                        target->name, sources[i]->name);
    }
    return BYRE_OK;
}

/* A device takes the disk at its start; what is behind it stays. */
static int fit_device(const struct target *target, uint64_t size_bytes,
                      struct byre_error *err)
{
    uint64_t target_bytes;
    int r;

    r = store_get_size(target->store, &target_bytes, err);
    if (r < 0)
        return r;
    if (target_bytes < size_bytes)
        return fail(err, BYRE_E_LIMIT,
                    "the target '%s' has %llu bytes, too few for the disk's "
                    "%llu",
                    target->name, (unsigned long long)target_bytes,
                    (unsigned long long)size_bytes);
    return BYRE_OK;
}

/* An existing file becomes empty and long enough; -n leaves it as it is. */
static int size_target(struct target *target, uint32_t flags,
                       uint64_t size_bytes, struct byre_error *err)
{
    const bool is_device = strcmp(target->store->protocol, "host_device") == 0;
    int r;

    target->reads_zero = (flags & BYRE_CONVERT_TARGET_IS_ZERO) != 0;
    if (is_device || (flags & BYRE_CONVERT_NO_CREATE) != 0)
        return fit_device(target, size_bytes, err);

    target->emptied = !target->created;
    target->reads_zero = true;
    r = store_resize(target->store, 0, err);
    if (r == BYRE_OK)
        r = store_resize(target->store, size_bytes, err);
    return r;
}

static int open_file(struct target *target, uint32_t flags,
                     struct byre_error *err)
{
    const unsigned direct = flags & BYRE_CONVERT_DIRECT ? FILE_STORE_DIRECT : 0;
    int r;

    if ((flags & BYRE_CONVERT_NO_CREATE) == 0) {
        struct byre_error why;

        r = file_store_open(target->name,
                            FILE_STORE_WRITE | FILE_STORE_CREATE | direct,
                            &target->store, &why);
        target->created = r == BYRE_OK;
        if (r == BYRE_OK || why.sys_errno != EEXIST) {
            if (r < 0 && err != NULL)
                *err = why;
            return r;
        }
    }
    return file_store_open(target->name, FILE_STORE_WRITE | direct,
                           &target->store, err);
}

/* Whoever makes a file new also resizes it, and lets nobody else do so. */
static int lock_target(const struct target *target, uint32_t flags,
                       struct byre_error *err)
{
    const unsigned rewrite =
        flags & BYRE_CONVERT_NO_CREATE ? 0 : FILE_LOCK_RESIZE;

    return file_store_lock(target->store,
                           FILE_LOCK_READ | FILE_LOCK_WRITE | rewrite, rewrite,
                           target->name, err);
}

static int prepare_file(struct target *target, uint32_t flags,
                        uint64_t size_bytes, struct byre *const *sources,
                        size_t source_count, struct byre_error *err)
{
    int r;

    r = open_file(target, flags, err);
    if (r == BYRE_OK)
        r = refuse_sources(target, sources, source_count, err);
    if (r == BYRE_OK)
        r = lock_target(target, flags, err);
    if (r == BYRE_OK)
        r = size_target(target, flags, size_bytes, err);
    return r;
}

int target_open(const char *name, uint32_t flags, uint64_t size_bytes,
                struct byre *const *sources, size_t source_count,
                const atomic_bool *canceled, struct target *ret_target,
                struct byre_error *err)
{
    struct target target = { .name = strdup(name),
                             .pipe_fd = -1,
                             .canceled = canceled };
    int r;

    if (target.name == NULL)
        return fail_nomem(err, "a name", strlen(name));

    r = pipe_is_one(name) ? pipe_open(name, canceled, &target.pipe_fd, err)
                          : prepare_file(&target, flags, size_bytes, sources,
                                         source_count, err);
    if (r < 0) {
        target_close(&target, true);
        return r;
    }
    *ret_target = target;
    return BYRE_OK;
}

/* ---- Writing ---- */

int target_write(struct target *target, uint64_t offset, const void *buf,
                 size_t length, struct byre_error *err)
{
    int r;

    if (target->pipe_fd >= 0)
        return pipe_write(target->pipe_fd, target->name, target->canceled, buf,
                          length, err);
    r = store_write(target->store, offset, buf, length, err);
    if (r < 0)
        error_prefix(err, "%s", target->name);
    return r;
}

static int write_zeroes(struct target *target, uint64_t offset, uint64_t length,
                        struct byre_error *err)
{
    int r = BYRE_OK;

    while (length > 0 && r == BYRE_OK) {
        const size_t n = (size_t)min_u64(length, ZEROES_BYTES);

        r = target_write(target, offset, zeroes, n, err);
        offset += n;
        length -= n;
    }
    return r;
}

int target_zero(struct target *target, uint64_t offset, uint64_t length,
                bool may_unmap, struct byre_error *err)
{
    int r;

    if (target->pipe_fd >= 0 || !may_unmap)
        return write_zeroes(target, offset, length, err);
    if (target->reads_zero)
        return BYRE_OK;
    r = store_zero(target->store, offset, length, BYRE_STORE_MAY_UNMAP, err);
    if (r < 0)
        error_prefix(err, "%s", target->name);
    return r;
}

/* ---- Ending ---- */

int target_sync(struct target *target, struct byre_error *err)
{
    int r;

    if (target->pipe_fd >= 0)
        return BYRE_OK;

    r = store_flush(target->store, err);
    if (r < 0) {
        error_prefix(err, "%s", target->name);
        return r;
    }
    return target->created ? file_store_sync_folder(target->name, err)
                           : BYRE_OK;
}

/* Whether the name still leads to the file that was made under it. */
static bool is_still_named(const struct target *target)
{
    const struct store_identity *identity = &target->store->identity;
    struct stat st;

    return lstat(target->name, &st) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_dev == identity->device &&
           (uint64_t)st.st_ino == identity->inode;
}

void target_close(struct target *target, bool failed)
{
    if (failed && target->created && is_still_named(target))
        unlink(target->name);
    if (failed && target->emptied)
        store_resize(target->store, 0, NULL);
    if (target->pipe_fd >= 0)
        close(target->pipe_fd);
    byre_store_unref(target->store);
    free(target->name);
}
