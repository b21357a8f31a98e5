/* SPDX-License-Identifier: MIT */
/*
 * QEMU's advisory locks: shared locks on single bytes of the file, which belong
 * to the open file description, and conflicts found by testing for exclusive
 * ones.  So they work on read-only descriptors, and nobody waits.
 *
 * Byte 100 + n says "I use permission n", byte 200 + n "I do not share it".
 * (Measured on QEMU 7.2, tests/interop.)
 */
#ifndef BYRE_STORE_FILE_LOCK_H
#define BYRE_STORE_FILE_LOCK_H

#include "byre.h"

/* The permissions, by their number n. */
#define FILE_LOCK_READ   (1u << 0)
#define FILE_LOCK_WRITE  (1u << 1)
#define FILE_LOCK_RESIZE (1u << 3)

/*
 * Takes the bytes of `used` and `unshared` (FILE_LOCK_* bits) and
 * fails with BYRE_E_LOCKED if somebody's contradict them.  Does nothing on a
 * system without such locks.
 */
int file_lock_take(int fd, unsigned used, unsigned unshared, const char *name,
                   struct byre_error *err);

/* Drops all of them.  Closing the last descriptor does the same. */
void file_lock_release(int fd);

#endif
