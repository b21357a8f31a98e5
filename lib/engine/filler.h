/* SPDX-License-Identifier: MIT */
/*
 * A store that is being filled with a new image, from empty.
 *
 * The order that leaves no half image: what the store held is gone and durably
 * so before anything new is written; all but the first sector is written and
 * durable before the first sector, which makes it an image, is written at once.
 *
 * What was not written reads as zeroes where the store could be cut to nothing
 * (a file).  Where it could not (a device, a caller's store of fixed length),
 * areas that must be zero are zeroed one by one.
 */
#ifndef BYRE_ENGINE_FILLER_H
#define BYRE_ENGINE_FILLER_H

#include <stdbool.h>

#include "store/store.h"

#define FILLER_BUFFER_BYTES (UINT32_C(1) << 20)

/* What is atomic when a write is torn. */
#define FILLER_SECTOR_BYTES 512

struct filler {
    struct byre_store *store;
    uint8_t *buffer; /* of FILLER_BUFFER_BYTES, for what is being written */
    bool reads_zero; /* where nothing was written yet */
    bool sync;       /* barriers are real */
};

/*
 * Empties `store`, which must outlive the filler.  Without `sync` nothing waits
 * for the disk.  On failure there is nothing to be released.
 */
int filler_init(struct filler *filler, struct byre_store *store, bool sync,
                struct byre_error *err);

/* Releases what filler_init() made; a zeroed filler is allowed. */
void filler_done(struct filler *filler);

/* Makes the store at least `size_bytes` long. */
int filler_extend(struct filler *filler, uint64_t size_bytes,
                  struct byre_error *err);

int filler_write(struct filler *filler, uint64_t offset, const void *buf,
                 uint64_t length, struct byre_error *err);

/* Makes sure that a range in which nothing was written reads as zeroes. */
int filler_zero(struct filler *filler, uint64_t offset, uint64_t length,
                struct byre_error *err);

/*
 * Gives space to a range that is to be zero, by BYRE_PREALLOCATION_*: nothing
 * (OFF, METADATA), reserved (FALLOC; zeroes are written where the store cannot
 * do that), zeroes written (FULL).
 */
int filler_reserve(struct filler *filler, uint64_t offset, uint64_t length,
                   uint32_t preallocation, struct byre_error *err);

/*
 * Fills an area of `area_bytes` with `count` big-endian words, word(user, i)
 * the i-th of them, and zeroes behind them.
 */
int filler_words(struct filler *filler, uint64_t offset, uint64_t area_bytes,
                 uint64_t count,
                 uint64_t (*word)(const void *user, uint64_t index),
                 const void *user, struct byre_error *err);

/* All that was written is durable. */
int filler_barrier(struct filler *filler, struct byre_error *err);

/*
 * Writes the `length` bytes at the start of the store last: all behind the
 * first sector, a barrier, that sector, a barrier.
 */
int filler_finish(struct filler *filler, const uint8_t *head, size_t length,
                  struct byre_error *err);

/*
 * Makes sure, as far as the store still obeys, that no image is left: it is cut
 * to nothing, or its first sector is zeroed.
 */
void filler_wipe(struct byre_store *store);

#endif
