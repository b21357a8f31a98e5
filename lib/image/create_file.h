/* SPDX-License-Identifier: MIT */
/*
 * A file on its way to becoming a new image, or the data file of one: made
 * exclusively, or opened and locked, and taken back if the work fails.
 */
#ifndef BYRE_IMAGE_CREATE_FILE_H
#define BYRE_IMAGE_CREATE_FILE_H

#include <stdbool.h>

#include "store/store.h"

struct create_file {
    const char *name;         /* the caller's, for people; NULL: a store */
    char *path;               /* where it is made; NULL: a store */
    struct byre_store *store; /* NULL: there is none */
    bool created;             /* removed on failure */
    bool touched;             /* what it held is gone */
};

/* A file must exist; make no new one. */
#define CREATE_FILE_EXISTING (1u << 0)
/* A file must not exist. */
#define CREATE_FILE_NEW (1u << 1)
/* A new file is not copied on write, where the file system has the choice. */
#define CREATE_FILE_NOCOW (1u << 2)

/*
 * Opens or makes the file at `path`, and changes nothing of one that exists.  A
 * symlink that leads nowhere has the file made where it leads.  `name` and
 * `path` must outlive the result, to be released with create_file_close().
 */
int create_file_open(const char *path, unsigned flags,
                     struct create_file *ret_file, struct byre_error *err);

/* The same for a store, of which it takes a reference. */
void create_file_take(struct byre_store *store, struct create_file *ret_file);

/* A file grows as it must; a device has room for `needed_bytes`, or fails. */
int create_file_fits(const struct create_file *file, uint64_t needed_bytes,
                     struct byre_error *err);

/* Keeps all others from using it until it closes, or fails. */
int create_file_lock(const struct create_file *file, struct byre_error *err);

/* Makes the name of a new file durable. */
int create_file_sync_name(const struct create_file *file,
                          struct byre_error *err);

/*
 * Closes it; a zeroed file is allowed.  After a failure a file that was made is
 * removed, and one whose content is gone is left without a header; `err` says
 * so.
 */
void create_file_close(struct create_file *file, bool failed,
                       struct byre_error *err);

/* Whether both are known to be one file. */
bool create_same_file(const struct store_identity *a,
                      const struct store_identity *b);

#endif
