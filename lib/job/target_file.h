/* SPDX-License-Identifier: MIT */
/*
 * A file that a target consists of, and what becomes of it when the work fails:
 * what was made is removed, what was there and was emptied is empty again.
 */
#ifndef BYRE_JOB_TARGET_FILE_H
#define BYRE_JOB_TARGET_FILE_H

#include <stdbool.h>

#include "store/store.h"

struct target_file {
    struct byre_store *store; /* keeps its locks too; NULL: none, or not yet */
    char *path;               /* of what was made, to be removed; or NULL */
    bool emptied;             /* what it held is gone */
    bool was_there;
};

/* Notes whether there is a file at `path` before somebody else makes one. */
void target_file_look(struct target_file *file, const char *path);

/*
 * The file at `path` was made, or emptied if it was there: on failure that is
 * undone, as far as it can be found then.
 */
int target_file_made(struct target_file *file, const char *path,
                     struct byre_error *err);

/* Releases it, undoing what was done if the work `failed`.  A zeroed one is
   allowed. */
void target_file_close(struct target_file *file, bool failed);

/* What the file at `path` is; unknown if there is none. */
struct store_identity target_file_identity(const char *path);

#endif
