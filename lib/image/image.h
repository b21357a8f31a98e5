/* SPDX-License-Identifier: MIT */
/*
 * struct byre: an engine on a store, and the chain below it.  Everything here
 * is set while opening; what it stands on, and whether it is open for writing,
 * changes with its gate closed, and is looked at inside.
 */
#ifndef BYRE_IMAGE_IMAGE_H
#define BYRE_IMAGE_IMAGE_H

#include <pthread.h>
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
    bool is_snapshot; /* not the active disk */

    /* ---- For opening it again (reopen.c) ---- */
    struct byre_store *file;       /* the file below `store`, or NULL */
    uint32_t open_flags;           /* BYRE_OPEN_* of its chain */
    unsigned failed_flushes;       /* of its stores, when it was opened */
    uint64_t refcount_cache_bytes; /* when it is open for writing */
    /* Held by those who flush outside the gate; taken alone to open or close
       the image for writing. */
    pthread_rwlock_t writing;
    bool check_only; /* opened with BYRE_OPEN_CHECK: there is no disk */
    bool may_repair; /* ... and for writing */
};

/* Images in a chain, at the very most. */
#define CHAIN_MAX_DEPTH 1024

/* Barriers of its stores that have failed so far. */
static inline unsigned image_failed_flushes(const struct byre *img)
{
    return atomic_load(&img->store->failed_flushes) +
           (img->data_store != NULL
                ? atomic_load(&img->data_store->failed_flushes)
                : 0);
}

/*
 * A call that reads passes the gates of the images that it looks at, from the
 * top one down, and leaves them from the lowest up: so each may be changed by
 * itself.
 */
struct chain_pass {
    struct byre *top;
    uint32_t entered; /* images, from the top one on */
    unsigned stripe;
    uint64_t parities[CHAIN_MAX_DEPTH / 64];
    struct byre *images[CHAIN_MAX_DEPTH];
};

void chain_enter(struct chain_pass *pass, struct byre *top);
/* Of the image that was entered last: the one below it. */
void chain_enter_next(struct chain_pass *pass, struct byre *img);
void chain_leave(struct chain_pass *pass);

/* What the disk is at `offset`, asked of the whole chain. */
struct chain_mapping {
    struct byre *image; /* whose engine answered */
    uint32_t depth;
    struct mapping mapping; /* L2_UNALLOCATED: nobody holds it, so it is zero */
};

/*
 * Maps `length` bytes at `offset`, a range of the disk and not empty; `shallow`
 * asks the top image alone.  What it answers holds until chain_leave().
 */
int chain_map(struct chain_pass *pass, uint64_t offset, uint64_t length,
              bool shallow, struct chain_mapping *ret, struct byre_error *err);

/* Reads what chain_map() answered, or the first `length` bytes of it. */
int chain_read(const struct chain_mapping *chain, uint64_t offset, void *buf,
               size_t length, struct byre_error *err);

/* Reads any range of an image; what lies past the end of its disk is zero. */
int image_read_past_end(struct byre *img, uint64_t offset, void *buf,
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
 * Calls that change an image, and look at nothing below it, pass its gate only.
 * The disk's size may only be looked at inside.
 */
struct gate_pass image_enter(struct byre *img);
void image_leave(struct byre *img, struct gate_pass pass);

/*
 * Calls that change what others stand on are alone: closes the gate of an image
 * that is open for writing; on failure it is open as before.
 */
int image_change_begin(struct byre *img, struct byre_error *err);
/* Returns `r`, whose failure is named. */
int image_change_end(struct byre *img, int r, struct byre_error *err);

/* Makes an image whose chain is open writable; of `flags` BYRE_OPEN_KEEP_* and
   BYRE_OPEN_GIVE_UP_BITMAPS are looked at. */
int image_prepare_write(struct byre *img, uint32_t flags,
                        struct byre_error *err);

/* What its engine copies from, of this moment. */
struct engine_backing image_engine_backing(struct byre *img);

/*
 * Has an image that stands on nothing take itself for an overlay of zeroes, so
 * that what becomes zero is noted as such and not as nothing; and no more.
 */
void image_stand_on_zeroes(struct byre *img, bool zeroes);

/* What an image is to stand on. */
struct new_backing {
    struct byre *image; /* NULL: nothing, or it is not opened */
    bool is_lent;
};

/* Opens it by its name, or takes what the options lend; they are as of
   byre_set_backing(). */
int new_backing_open(struct byre *img, const char *name, const char *format,
                     const struct byre_open_options *opts,
                     struct new_backing *ret, struct byre_error *err);
void new_backing_close(struct new_backing *backing);

/*
 * Changes what is recorded of what it stands on, and what it stands on, which
 * is taken over on success; `name` is NULL for nothing.
 */
int image_switch_backing(struct byre *img, const char *name, const char *format,
                         struct new_backing *backing, struct byre_error *err);

/* Leaves all of the disk to what it stands on, alone. */
int image_empty(struct byre *img, const struct engine_progress *progress,
                struct byre_error *err);

/* byre_write() for jobs whose writes allocate in an order of their own. */
int image_write(struct byre *img, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err);

/* Whether both are the same disk in the same file, with nothing said of what
   they stand on. */
bool image_is_same(const struct byre *a, const struct byre *b);

/* Whether any file of the chain is the one with this identity. */
bool chain_uses_file(const struct byre *img,
                     const struct store_identity *identity);

#endif
