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

/* What a descriptor holds, in FILE_LOCK_* bits; zeroes at first. */
struct file_lock {
    unsigned used;
    unsigned unshared;
};

/*
 * Takes the bytes of `wanted` and gives back those that *held has beyond it.
 * Fails with BYRE_E_LOCKED if somebody's contradict `wanted`, who is named in
 * the message as far as the system tells; then *held is as it was, and at no
 * instant was less held than that.  Does nothing on a system without such
 * locks.  `name` is the file's, for the message.
 */
int file_lock_take(int fd, struct file_lock *held,
                   const struct file_lock *wanted, const char *name,
                   struct byre_error *err);

/*
 * Has another descriptor of the same file hold the same.  Nobody can be in the
 * way who was not for `held`.
 */
int file_lock_copy(int fd, const struct file_lock *held,
                   struct byre_error *err);

/* Gives back what is held.  Closing the last descriptor does the same. */
void file_lock_release(int fd, struct file_lock *held);

#endif
