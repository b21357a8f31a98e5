/* SPDX-License-Identifier: MIT */
/*
 * Files and block devices as stores, and QEMU's advisory locks on them.
 *
 * Calls that are for files only do nothing on other stores, or say that they
 * cannot.
 */
#ifndef BYRE_STORE_FILE_H
#define BYRE_STORE_FILE_H

#include "store/file_lock.h"
#include "store/store.h"

#define FILE_STORE_WRITE   (1u << 0) /* open for reading and writing */
#define FILE_STORE_CREATE  (1u << 1) /* make a new file; it must not exist */
#define FILE_STORE_DIRECT  (1u << 2) /* direct I/O, where there is such */
#define FILE_STORE_NO_SYNC (1u << 3) /* flushes do not wait for the disk */

/* Opens the file or block device at `path`. */
int file_store_open(const char *path, unsigned flags,
                    struct byre_store **ret_store, struct byre_error *err);

/*
 * Opens what `fd` is open to once more, not to be made; the caller keeps `fd`.
 * FILE_STORE_WRITE wants a descriptor that is open for reading and writing, not
 * for appending, and is BYRE_E_STATE otherwise.
 */
int file_store_open_fd(int fd, unsigned flags, struct byre_store **ret_store,
                       struct byre_error *err);

/*
 * Holds the locks (FILE_LOCK_* bits) until the store closes, or fails with
 * BYRE_E_LOCKED.  Called again it changes what is held to the new permissions
 * (a reader becomes a writer, or a reader again); on failure that stays as it
 * was, which is nothing at first.  Does nothing on a store that is not a file,
 * or a system without such locks.  `name` is for the message.  Not for several
 * threads at once.
 */
int file_store_lock(struct byre_store *store, unsigned used, unsigned unshared,
                    const char *name, struct byre_error *err);

/* Gives back what file_store_lock() holds. */
void file_store_unlock(struct byre_store *store);

/*
 * Reserves space for the range, so that writes to it do not run out of it, and
 * grows the file to its end; what it held stays, what is new reads as zeroes.
 * BYRE_E_UNSUPPORTED where the file system cannot, for a device, and for a
 * store that is not a file.
 */
int file_store_preallocate(struct byre_store *store, uint64_t offset,
                           uint64_t length, struct byre_error *err);

/*
 * Has the file, which must be empty, written in place where the file system
 * would copy it on write.  Nothing to do on one that has no such switch.
 */
int file_store_set_nocow(struct byre_store *store, struct byre_error *err);

/* Makes the name `path` of a new file durable: flushes the folder it is in. */
int file_store_sync_folder(const char *path, struct byre_error *err);

#endif
