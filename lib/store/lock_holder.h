/* SPDX-License-Identifier: MIT */
/*
 * Who holds a lock that is in our way, for the words of an error.
 *
 * Locks of open file descriptions have no process in /proc/locks; but each
 * descriptor shows them in /proc/PID/fdinfo, to those who may look at the
 * process.  What cannot be seen is left out, and nothing here can fail.
 */
#ifndef BYRE_STORE_LOCK_HOLDER_H
#define BYRE_STORE_LOCK_HOLDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Entries of fdinfo that are looked at before the search ends. */
#define LOCK_HOLDER_MAX_ENTRIES 65536

#define LOCK_HOLDER_TEXT_SIZE 256

/* A lock that is in the way. */
struct lock_conflict {
    int fd;         /* our own descriptor, whose locks are not in our way */
    dev_t device;   /* of the file, as fstat() has it; a file system may show
                       another one, and then the inode decides alone */
    uint64_t inode; /* of the file */
    uint64_t byte;
    bool exclusive_only; /* a shared lock would not be in the way */
};

/*
 * Writes who holds such a lock, three of them at most: "process 12 (qemu-io)
 * and this process", and returns whether there was anybody to name.  `proc` is
 * where the system shows its processes, "/proc".
 */
bool lock_holder_describe(const char *proc,
                          const struct lock_conflict *conflict,
                          char ret_text[LOCK_HOLDER_TEXT_SIZE]);

#endif
