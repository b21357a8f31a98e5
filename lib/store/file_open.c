/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "store/file.h"
#include "store/file_store.h"

/* ---- Opening ---- */

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

static int check_kind(const struct stat *st, struct byre_error *err)
{
    if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
        return BYRE_OK;
    return fail(err, BYRE_E_UNSUPPORTED,
                "it is %s; a regular file or a block device is needed",
                S_ISDIR(st->st_mode)   ? "a directory"
                : S_ISCHR(st->st_mode) ? "a character device"
                                       : "a pipe or socket");
}

/* Takes over `fd`, also on failure. */
static int store_from_fd(int fd, unsigned flags, struct byre_store **ret_store,
                         struct byre_error *err)
{
    struct file_store *file = NULL;
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0) {
        r = fail_errno(err, errno, "cannot tell what it is");
        goto out;
    }

    r = check_kind(&st, err);
    if (r < 0)
        goto out;

    file = calloc(1, sizeof(*file));
    if (file == NULL) {
        r = fail_nomem(err, "a file store", sizeof(*file));
        goto out;
    }

    file->fd = fd;
    file->block_device = S_ISBLK(st.st_mode);
    file->no_sync = (flags & FILE_STORE_NO_SYNC) != 0;
    file->may_write = true;
    r = file_store_new(file, (flags & FILE_STORE_WRITE) != 0, ret_store, err);
    if (r < 0)
        goto out;

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
    struct file_store *file = file_store_of(store);

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

    r = store_from_fd(fd, flags, ret_store, err);
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
static int reopen(int fd, unsigned flags)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, open_flags(flags & FILE_STORE_WRITE));
}

/* What the caller has opened for reading is not written behind its back. */
static int check_access(int fd, unsigned flags, struct byre_error *err)
{
    const int mode = fcntl(fd, F_GETFL);

    if (mode < 0)
        return fail_errno(err, errno, "cannot use descriptor %d", fd);
    if ((flags & FILE_STORE_WRITE) && (mode & O_ACCMODE) != O_RDWR)
        return fail(err, BYRE_E_STATE,
                    "descriptor %d is open for %s only; to write the image, "
                    "open it for reading and writing",
                    fd, (mode & O_ACCMODE) == O_WRONLY ? "writing" : "reading");
    /* Where it can only be duplicated, each write would go to the end. */
    if ((flags & FILE_STORE_WRITE) && (mode & O_APPEND))
        return fail(err, BYRE_E_STATE,
                    "descriptor %d is open for appending; to write the image, "
                    "open it without O_APPEND",
                    fd);
    return BYRE_OK;
}

int file_store_open_fd(int fd, unsigned flags, struct byre_store **ret_store,
                       struct byre_error *err)
{
    bool is_duplicate;
    int own, r;

    r = check_access(fd, flags, err);
    if (r < 0)
        return r;

    own = reopen(fd, flags);
    is_duplicate = own < 0;
    if (is_duplicate)
        own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return fail_errno(err, errno, "cannot duplicate descriptor %d", fd);

    r = store_from_fd(own, flags, ret_store, err);
    if (r < 0)
        return r;
    file_store_of(*ret_store)->shares_locks = is_duplicate;
    file_store_of(*ret_store)->may_write =
        check_access(fd, FILE_STORE_WRITE, NULL) == BYRE_OK;
    if ((flags & FILE_STORE_DIRECT) && !is_duplicate)
        set_direct(*ret_store);
    return BYRE_OK;
}

/* Another description of the same file, by its descriptor or its name. */
static int open_again(const struct byre_store *store, const char *path,
                      struct byre_error *err)
{
    const struct file_store *file = store->user;
    struct store_identity found;
    struct stat st;
    int fd = reopen(file->fd, FILE_STORE_WRITE);

    if (fd < 0 && errno == ENOENT && path != NULL)
        fd = open(path, open_flags(FILE_STORE_WRITE));
    if (fd < 0)
        return fail_errno(err, errno, "Could not open '%s' for writing",
                          path != NULL ? path : "the file");
    if (fstat(fd, &st) < 0) {
        close(fd);
        return fail_errno(err, errno, "cannot tell what it is");
    }
    found = identity_of(&st);
    if (found.is_device == store->identity.is_device &&
        found.device == store->identity.device &&
        found.inode == store->identity.inode)
        return fd;
    close(fd);
    return fail(err, BYRE_E_STATE,
                "'%s' is another file by now, and is not opened for writing",
                path);
}

/*
 * The new description has all locks before the old one goes, and takes its
 * number, so that nobody who only asks for the size sees a difference.
 */
int file_make_writable(struct byre_store *store, const char *path, bool no_sync,
                       struct byre_error *err)
{
    struct file_store *file = store->user;
    int fd, r;

    if (store->ops.write == NULL && !file->may_write)
        return fail(err, BYRE_E_STATE,
                    "the image was opened by a descriptor for reading only; to "
                    "write it, open one for reading and writing");
    if (store->ops.write == NULL) {
        fd = open_again(store, path, err);
        if (fd < 0)
            return fd;
        r = file_lock_copy(fd, &file->held, err);
        if (r == BYRE_OK && dup3(fd, file->fd, O_CLOEXEC) < 0)
            r = fail_errno(err, errno, "cannot replace a descriptor");
        close(fd);
        if (r < 0)
            return r;
        if (atomic_load(&file->direct))
            set_direct(store);
        file_store_enable_writing(store);
    }
    file->no_sync = no_sync;
    return BYRE_OK;
}

int file_store_sync_folder(const char *path, struct byre_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL   ? strdup(".")
                   : slash == path ? strdup("/")
                                   : strndup(path, (size_t)(slash - path));
    int fd, r = BYRE_OK;

    if (folder == NULL)
        return fail_nomem(err, "a name", strlen(path));

    /* EINVAL: a file system that has no such thing to flush. */
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
        r = fail_errno(err, errno, "cannot flush the folder '%s'", folder);
    if (fd >= 0)
        close(fd);
    free(folder);
    return r;
}

/* ---- Locks ---- */

int file_store_lock(struct byre_store *store, unsigned used, unsigned unshared,
                    const char *name, struct byre_error *err)
{
    const struct file_lock wanted = { used, unshared };
    struct file_store *file = file_store_of(store);

    if (file == NULL)
        return BYRE_OK;
    return file_lock_take(file->fd, &file->held, &wanted, name, err);
}

void file_store_unlock(struct byre_store *store)
{
    struct file_store *file = file_store_of(store);

    if (file != NULL)
        file_lock_release(file->fd, &file->held);
}
