/* SPDX-License-Identifier: MIT */
#include "image/create_file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/filler.h"
#include "store/file.h"

/* As many as the kernel follows. */
#define MAX_SYMLINKS 40

bool create_same_file(const struct store_identity *a,
                      const struct store_identity *b)
{
    return a->known && b->known && a->is_device == b->is_device &&
           a->device == b->device && a->inode == b->inode;
}

/* ---- Opening ---- */

/* Replaces *path, a symlink, by what it says. */
static int follow_symlink(char **path, struct byre_error *err)
{
    char target[PATH_MAX];
    const ssize_t length = readlink(*path, target, sizeof(target) - 1);
    const char *slash = strrchr(*path, '/');
    size_t folder_bytes = 0;
    char *joined;

    if (length < 0)
        return fail_errno(err, errno, "Could not read the symlink '%s'", *path);

    if (slash != NULL && target[0] != '/')
        folder_bytes = (size_t)(slash - *path) + 1;
    joined = malloc(folder_bytes + (size_t)length + 1);
    if (joined == NULL)
        return fail_nomem(err, "a name", folder_bytes + (size_t)length);
    memcpy(joined, *path, folder_bytes);
    memcpy(joined + folder_bytes, target, (size_t)length);
    joined[folder_bytes + (size_t)length] = '\0';
    free(*path);
    *path = joined;
    return BYRE_OK;
}

/* An exclusive open() does not follow symlinks, so they are followed first. */
static int follow_symlinks(char **path, struct byre_error *err)
{
    struct stat st;
    int r;

    for (unsigned i = 0; i < MAX_SYMLINKS; i++) {
        if (lstat(*path, &st) < 0 || !S_ISLNK(st.st_mode))
            return BYRE_OK;
        r = follow_symlink(path, err);
        if (r < 0)
            return r;
    }
    return fail_errno(err, ELOOP, "Could not open '%s'", *path);
}

static int make_new(struct create_file *file, unsigned flags,
                    struct byre_error *err)
{
    int r;

    r = file_store_open(file->path, FILE_STORE_WRITE | FILE_STORE_CREATE,
                        &file->store, err);
    if (r < 0)
        return r;

    file->created = true;
    if (flags & CREATE_FILE_NOCOW)
        r = file_store_set_nocow(file->store, err);
    return r;
}

/* A file that is there, or else a new one. */
static int open_or_make(struct create_file *file, unsigned flags,
                        struct byre_error *err)
{
    struct byre_error why;
    int r;

    r = file_store_open(file->path, FILE_STORE_WRITE, &file->store, &why);
    if (r < 0 && why.sys_errno == ENOENT)
        return make_new(file, flags, err);
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

int create_file_open(const char *path, unsigned flags,
                     struct create_file *ret_file, struct byre_error *err)
{
    struct create_file file = { .name = path, .path = strdup(path) };
    int r = BYRE_OK;

    if (file.path == NULL)
        return fail_nomem(err, "a name", strlen(path));

    if ((flags & CREATE_FILE_NEW) == 0)
        r = follow_symlinks(&file.path, err);
    if (r == BYRE_OK && (flags & CREATE_FILE_NEW))
        r = make_new(&file, flags, err);
    else if (r == BYRE_OK && (flags & CREATE_FILE_EXISTING))
        r = file_store_open(file.path, FILE_STORE_WRITE, &file.store, err);
    else if (r == BYRE_OK)
        r = open_or_make(&file, flags, err);
    if (r < 0) {
        create_file_close(&file, true, NULL);
        return r;
    }
    *ret_file = file;
    return BYRE_OK;
}

void create_file_take(struct byre_store *store, struct create_file *ret_file)
{
    *ret_file = (struct create_file){ .store = store_ref(store) };
}

int create_file_fits(const struct create_file *file, uint64_t needed_bytes,
                     struct byre_error *err)
{
    uint64_t have_bytes;
    int r;

    if (!file->store->identity.is_device)
        return BYRE_OK;

    r = store_get_size(file->store, &have_bytes, err);
    if (r < 0)
        return r;
    if (have_bytes < needed_bytes)
        return fail(err, BYRE_E_LIMIT,
                    "'%s' has %llu bytes, too few for the %llu that "
                    "are needed",
                    file->name != NULL ? file->name : "the device",
                    (unsigned long long)have_bytes,
                    (unsigned long long)needed_bytes);
    return BYRE_OK;
}

int create_file_lock(const struct create_file *file, struct byre_error *err)
{
    if (file->path == NULL)
        return BYRE_OK;
    return file_store_lock(file->store,
                           FILE_LOCK_READ | FILE_LOCK_WRITE | FILE_LOCK_RESIZE,
                           FILE_LOCK_WRITE | FILE_LOCK_RESIZE, file->path, err);
}

/* ---- Ending ---- */

int create_file_sync_name(const struct create_file *file,
                          struct byre_error *err)
{
    return file->created ? file_store_sync_folder(file->path, err) : BYRE_OK;
}

/* Whether the name still leads to the file that was made under it. */
static bool is_still_named(const struct create_file *file)
{
    struct stat st;
    struct store_identity found;

    if (lstat(file->path, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    found = (struct store_identity){ .known = true,
                                     .device = (uint64_t)st.st_dev,
                                     .inode = (uint64_t)st.st_ino };
    return create_same_file(&found, &file->store->identity);
}

void create_file_close(struct create_file *file, bool failed,
                       struct byre_error *err)
{
    if (failed && file->created && is_still_named(file)) {
        unlink(file->path);
    } else if (failed && file->touched) {
        filler_wipe(file->store);
        error_prefix(err, "%s is left empty",
                     file->name != NULL ? file->name : "the store");
    }
    byre_store_unref(file->store);
    free(file->path);
    *file = (struct create_file){ 0 };
}
