/* SPDX-License-Identifier: MIT */
#include "job/target_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/filler.h"
#include "store/file.h"

struct store_identity target_file_identity(const char *path)
{
    struct store_identity identity = { 0 };
    struct stat st;

    if (stat(path, &st) < 0)
        return identity;
    identity.known = true;
    identity.is_device = S_ISBLK(st.st_mode);
    identity.device = (uint64_t)(identity.is_device ? st.st_rdev : st.st_dev);
    identity.inode = identity.is_device ? 0 : (uint64_t)st.st_ino;
    return identity;
}

void target_file_look(struct target_file *file, const char *path)
{
    file->was_there = target_file_identity(path).known;
}

int target_file_made(struct target_file *file, const char *path,
                     struct byre_error *err)
{
    int r;

    file->emptied = file->was_there;
    if (!file->was_there) {
        /* What is removed is the file, not a symlink that led to it. */
        file->path = realpath(path, NULL);
        if (file->path == NULL)
            return fail_errno(err, errno, "Could not open '%s'", path);
    }
    if (file->store == NULL) {
        r = file_store_open(path, FILE_STORE_WRITE, &file->store, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* Whether the name still leads to the file that was made under it. */
static bool is_still_named(const struct target_file *file)
{
    struct stat st;
    struct store_identity found;

    if (file->store == NULL || lstat(file->path, &st) < 0 ||
        !S_ISREG(st.st_mode))
        return false;
    found = target_file_identity(file->path);
    return found.device == file->store->identity.device &&
           found.inode == file->store->identity.inode;
}

void target_file_close(struct target_file *file, bool failed)
{
    if (failed && file->path != NULL && is_still_named(file))
        unlink(file->path);
    if (failed && file->emptied && file->store != NULL)
        filler_wipe(file->store);
    byre_store_unref(file->store);
    free(file->path);
    *file = (struct target_file){ 0 };
}
