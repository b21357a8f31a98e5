/* SPDX-License-Identifier: MIT */
/*
 * A cache of table slices: L2 tables in pieces of at most 4 KiB, so that a
 * random read of an image with 2 MiB clusters does not load 2 MiB of table.
 *
 * A hit takes no lock.  Each slot has a sequence count that is odd while the
 * slot changes; a reader looks its words up through a view and believes them
 * only if the count is still the same afterwards:
 *
 *     do {
 *         if (!table_cache_find(cache, host_offset, &view))
 *             load it, or ask to have it loaded
 *         word = table_view_word(&view, i); ...
 *     } while (!table_view_still_valid(&view));
 *
 * Words are atomics, loaded with acquire and stored with release order, so that
 * a reader that sees a new word also sees the odd count before it.
 *
 * Loading happens outside the lock of the set it goes to: table_cache_load()
 * reads into a buffer of its own and takes the lock only to put it in.
 *
 * Of an image that is open for writing, slices change here first.  Changed ones
 * stay until a flush has written them: it takes their content of one moment as
 * a batch, waits for what they point to, and writes the batch.  The caller sees
 * to it that only one thread at a time changes a word.
 */
#ifndef BYRE_ENGINE_TABLE_CACHE_H
#define BYRE_ENGINE_TABLE_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define TABLE_SLICE_MAX_BYTES 4096

struct table_cache;

struct table_view {
    const _Atomic uint64_t *words;
    const atomic_uint *sequence_count;
    unsigned sequence;
};

/*
 * A cache of slices of `slice_bytes` (a multiple of 8, at most
 * TABLE_SLICE_MAX_BYTES) that holds `budget_bytes` of them, or a few if that is
 * less.  Memory is taken as slices come.  `store` must outlive the cache.
 */
int table_cache_new(struct byre_store *store, uint32_t slice_bytes,
                    uint64_t budget_bytes, struct table_cache **ret_cache,
                    struct byre_error *err);

/* NULL is allowed. */
void table_cache_free(struct table_cache *cache);

/* The slice that starts at `host_offset`; false if it is not here. */
bool table_cache_find(struct table_cache *cache, uint64_t host_offset,
                      struct table_view *ret_view);

/* Only changed slices are in the way: a flush makes room. */
#define TABLE_CACHE_FULL 1

/*
 * Reads the slice and puts it in, unless it is there.  Many threads at once,
 * also for one slice.  Returns 0, TABLE_CACHE_FULL or a failure.
 */
int table_cache_load(struct table_cache *cache, uint64_t host_offset,
                     struct byre_error *err);

/* A slice of the reader's own, beside the cache. */
struct table_copy {
    _Atomic uint64_t words[TABLE_SLICE_MAX_BYTES / 8];
    atomic_uint sequence;
};

/*
 * Reads the slice past the cache: for readers of one that stays full because
 * nothing may be written any more.  The view is good as long as the copy.
 */
int table_cache_peek(struct table_cache *cache, uint64_t host_offset,
                     struct table_copy *copy, struct table_view *ret_view,
                     struct byre_error *err);

/*
 * Changes `count` words from `first` on of the slice, all of them at once for
 * readers; false if it is not here.
 */
bool table_cache_change(struct table_cache *cache, uint64_t host_offset,
                        uint32_t first, const uint64_t *words, uint32_t count);

/*
 * Forgets the slices of a table of `bytes` at `host_offset`, changed or not:
 * the place is used anew.
 */
void table_cache_forget(struct table_cache *cache, uint64_t host_offset,
                        uint64_t bytes);

/* Forgets all slices: tables have changed in the file.  None is in a batch. */
void table_cache_clear(struct table_cache *cache);

/* ---- Writing what changed (table_write.c); one batch at a time ---- */

struct table_batch;

/* The changed slices as they are now; *ret_batch is NULL if there are none. */
int table_cache_take_changed(struct table_cache *cache,
                             struct table_batch **ret_batch,
                             struct byre_error *err);

/* Writes them in ascending order, neighbours together. */
int table_batch_write(struct table_cache *cache,
                      const struct table_batch *batch, struct byre_error *err);

/* Ends a batch; what was not written counts as changed again. */
void table_batch_done(struct table_cache *cache, struct table_batch *batch,
                      bool written);

static inline uint64_t table_view_word(const struct table_view *view,
                                       uint32_t index)
{
    return atomic_load_explicit(&view->words[index], memory_order_acquire);
}

static inline bool table_view_still_valid(const struct table_view *view)
{
    return atomic_load_explicit(view->sequence_count, memory_order_relaxed) ==
           view->sequence;
}

#endif
