/* SPDX-License-Identifier: MIT */
/*
 * Files and block devices as stores, and QEMU's advisory locks on them.
 */
#ifndef BYRE_STORE_FILE_H
#define BYRE_STORE_FILE_H

#include "store/file_lock.h"
#include "store/store.h"

#define FILE_STORE_WRITE  (1u << 0) /* open for reading and writing */
#define FILE_STORE_CREATE (1u << 1) /* make a new file; it must not exist */
#define FILE_STORE_DIRECT (1u << 2) /* direct I/O, where there is such */

/* Opens the file or block device at `path`. */
int file_store_open(const char *path, unsigned flags,
                    struct byre_store **ret_store, struct byre_error *err);

/* Opens what `fd` is open to once more; the caller keeps `fd`. */
int file_store_open_fd(int fd, struct byre_store **ret_store,
                       struct byre_error *err);

/*
 * Holds the locks (FILE_LOCK_* bits) until the store closes, or fails with
 * BYRE_E_LOCKED.  Does nothing on a store that is not a file, or a system
 * without such locks. `name` is for the message.
 */
int file_store_lock(struct byre_store *store, unsigned used, unsigned unshared,
                    const char *name, struct byre_error *err);

#endif
