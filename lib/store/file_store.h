/* SPDX-License-Identifier: MIT */
/*
 * The inside of a file store, for the modules that make it up: file.c moves
 * bytes, file_space.c gives and frees space, file_open.c opens and locks.
 */
#ifndef BYRE_STORE_FILE_STORE_H
#define BYRE_STORE_FILE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "store/file_lock.h"
#include "store/store.h"

/* What any device takes. */
#define DIRECT_ALIGNMENT 4096

struct file_store {
    int fd;
    bool block_device;
    bool no_sync;
    bool may_write;    /* opening it for writing is not behind anybody's back */
    bool shares_locks; /* the descriptor's locks outlive it: a duplicate */
    atomic_bool direct; /* O_DIRECT is set */
    struct file_lock held;
};

/* The inside of `store`, or NULL if it is not a file's. */
struct file_store *file_store_of(struct byre_store *store);

/*
 * Makes the store of a filled-in `file`, which it takes over on success.
 * Without `writable` it lacks the functions that change it.
 */
int file_store_new(struct file_store *file, bool writable,
                   struct byre_store **ret_store, struct byre_error *err);

/* Gives it the functions that change it. */
void file_store_enable_writing(struct byre_store *store);

/* file_open.c */
int file_make_writable(struct byre_store *store, const char *path, bool no_sync,
                       struct byre_error *err);

/* Functions of struct byre_store_ops. */
int file_get_size(void *user, uint64_t *ret_size_bytes, struct byre_error *err);
int file_write(void *user, uint64_t offset, const void *buf, size_t length,
               struct byre_error *err);
int file_zero(void *user, uint64_t offset, uint64_t length, uint32_t flags,
              struct byre_error *err);
int file_discard(void *user, uint64_t offset, uint64_t length,
                 struct byre_error *err);

#endif
