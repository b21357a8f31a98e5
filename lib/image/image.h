/* SPDX-License-Identifier: MIT */
/*
 * struct byre: an engine on a store, and the chain below it.  Everything here
 * is set while opening and only read afterwards.
 */
#ifndef BYRE_IMAGE_IMAGE_H
#define BYRE_IMAGE_IMAGE_H

#include <stdbool.h>

#include "byre.h"
#include "engine/engine.h"

struct byre {
    struct engine *engine;
    struct byre_store *store;      /* the image file */
    struct byre_store *data_store; /* the external data file, or NULL */
    struct byre *backing;          /* NULL: none, or not opened */
    bool backing_is_lent;          /* the caller closes it */
    char *name;                    /* for people */
    char *path;      /* of the image file, for relative names; NULL: unknown */
    char *data_path; /* of the external data file, or NULL */
    char *backing_resolved; /* what backing_name stands for; NULL: unknown */
    bool metadata_only;
};

/* What the disk is at `offset`, asked of the whole chain. */
struct chain_mapping {
    struct byre *image; /* whose engine answered */
    uint32_t depth;
    struct mapping mapping; /* L2_UNALLOCATED: nobody holds it, so it is zero */
};

/*
 * Maps `length` bytes at `offset`, a range of the disk and not empty; `shallow`
 * asks `img` alone.
 */
int chain_map(struct byre *img, uint64_t offset, uint64_t length, bool shallow,
              struct chain_mapping *ret, struct byre_error *err);

/* Reads what chain_map() answered, or the first `length` bytes of it. */
int chain_read(const struct chain_mapping *chain, uint64_t offset, void *buf,
               size_t length, struct byre_error *err);

/*
 * Whether what the chain says of `offset` is missing from its files, which then
 * reads as if nothing was there: tables or data past the end of a file, or a
 * backing file that was not opened.  BYRE_E_CORRUPT with the reason;
 * *ret_length is for how long the answer holds, at most `length`, in either
 * case.  `shallow` asks `img` alone.
 */
int chain_find_loss(struct byre *img, uint64_t offset, uint64_t length,
                    bool shallow, uint64_t *ret_length, struct byre_error *err);

/* Fails unless [offset, offset + length) is a range of an opened disk. */
int check_disk_range(const struct byre *img, uint64_t offset, uint64_t length,
                     struct byre_error *err);

/*
 * Data calls of a writable image pass its gate; others need none.  The disk's
 * size may only be looked at inside.
 */
struct gate_pass image_enter(struct byre *img);
void image_leave(struct byre *img, struct gate_pass pass);

/* Makes an image whose chain is open writable; at most `cache_bytes` of
   refcounts are held, and `keep_space` keeps what discards free in the file. */
int image_prepare_write(struct byre *img, uint64_t cache_bytes, bool keep_space,
                        struct byre_error *err);

/* byre_write() for jobs whose writes allocate in an order of their own. */
int image_write(struct byre *img, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err);

/* Whether any file of the chain is the one with this identity. */
bool chain_uses_file(const struct byre *img,
                     const struct store_identity *identity);

#endif
