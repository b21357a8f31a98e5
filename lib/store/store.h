/* SPDX-License-Identifier: MIT */
/*
 * A store: where bytes live.  The engines see nothing else: a file, a caller's
 * memory and a window of another store are the same to them.
 *
 * All stores may be used by many threads at once.  Reads past the end give
 * zeroes, since image files legitimately end in the middle of a cluster.
 */
#ifndef BYRE_STORE_STORE_H
#define BYRE_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "byre.h"

/* What tells two names of one file from two files. */
struct store_identity {
    bool known;
    bool is_device; /* then `device` is the device itself, under any name */
    uint64_t device;
    uint64_t inode;
};

struct byre_store {
    struct byre_store_ops ops;
    void *user;
    atomic_uint references;
    const char *protocol; /* "file", "host_device", "memory", "store" */
    struct store_identity identity;
    uint64_t file_offset; /* where it starts in its file */
    /* A barrier that failed may have lost what it was for, whatever a later one
       says: so users look whether there was one. */
    atomic_uint failed_flushes;
    /* What is allocated to it on its medium; NULL: cannot be told. */
    int (*allocated)(void *user, uint64_t *ret_bytes, struct byre_error *err);
    /* Opens it for writing, if it is not; NULL: it stays as it is. */
    int (*make_writable)(struct byre_store *store, const char *path,
                         bool no_sync, struct byre_error *err);
};

/* The largest offset a store may have: byte counts fit the system's off_t. */
#define STORE_MAX_OFFSET ((uint64_t)INT64_MAX)

/*
 * Makes a store with one reference.  `protocol` is a string constant.  On
 * failure `user` is still the caller's.
 */
int store_new(const struct byre_store_ops *ops, void *user,
              const char *protocol, struct byre_store **ret_store,
              struct byre_error *err);

struct byre_store *store_ref(struct byre_store *store);

/* Fills all of `buf`; what lies past the end or past STORE_MAX_OFFSET is 0. */
int store_read(struct byre_store *store, uint64_t offset, void *buf,
               size_t length, struct byre_error *err);

int store_get_size(struct byre_store *store, uint64_t *ret_size_bytes,
                   struct byre_error *err);

/*
 * Whether `offset` is data or a hole (BYRE_STORE_*), and for how long: at least
 * 1, at most `length` bytes.  Past the end it is a hole.
 */
int store_extent(struct byre_store *store, uint64_t offset, uint64_t length,
                 uint32_t *ret_kind, uint64_t *ret_length,
                 struct byre_error *err);

/*
 * These give BYRE_E_UNSUPPORTED on a store that lacks the function.  One that
 * lacks write is read-only.
 */
int store_write(struct byre_store *store, uint64_t offset, const void *buf,
                size_t length, struct byre_error *err);
int store_flush(struct byre_store *store, struct byre_error *err);
int store_resize(struct byre_store *store, uint64_t size_bytes,
                 struct byre_error *err);

/*
 * Makes the range read as zeroes (flags: BYRE_STORE_MAY_UNMAP).  A store that
 * cannot do it by itself has them written, up to its end; what lies past that
 * reads as zero already.
 */
int store_zero(struct byre_store *store, uint64_t offset, uint64_t length,
               uint32_t flags, struct byre_error *err);

/* The same, but BYRE_E_UNSUPPORTED where zeroes would have to be written. */
int store_zero_fast(struct byre_store *store, uint64_t offset, uint64_t length,
                    uint32_t flags, struct byre_error *err);

/*
 * Nobody needs the range any more: it may read as it was or as zeroes from then
 * on.  A store that cannot use that keeps it.
 */
int store_discard(struct byre_store *store, uint64_t offset, uint64_t length,
                  struct byre_error *err);

/*
 * Gives a store that is open for reading the functions to write; one that has
 * them keeps them.  `path` is where its file is, if it is known, else NULL;
 * with `no_sync` flushes do not wait for the disk.  Nobody uses the store
 * meanwhile.
 */
int store_make_writable(struct byre_store *store, const char *path,
                        bool no_sync, struct byre_error *err);

/* Bytes the store takes on its medium, or BYRE_NO_OFFSET if unknown. */
uint64_t store_allocated_bytes(struct byre_store *store);

#endif
