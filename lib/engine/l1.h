/* SPDX-License-Identifier: MIT */
/*
 * The L1 table of a disk, held in memory.  Entries are read without a lock, and
 * changed one by one by who holds the lock of the entry's range; what changed
 * is written by the flush.  Only who is alone moves the table.
 */
#ifndef BYRE_ENGINE_L1_H
#define BYRE_ENGINE_L1_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "store/store.h"

struct l1_table {
    _Atomic uint64_t *words;
    uint64_t held; /* entries in memory; those beyond are zero */

    /* Of a disk that is open for writing. */
    uint64_t offset; /* in the file */
    pthread_mutex_t lock;
    uint64_t *changed; /* indices, in the order of changing */
    size_t changed_count;
    size_t changed_capacity;
};

static inline uint64_t l1_get(const struct l1_table *l1, uint64_t index)
{
    return index < l1->held
               ? atomic_load_explicit(&l1->words[index], memory_order_acquire)
               : 0;
}

void l1_init(struct l1_table *l1);
void l1_done(struct l1_table *l1);

/*
 * Loads `entries` of the table at `offset`, as far as the file reaches.  The
 * limit and the name are those of engine_load_words().
 */
int l1_load(struct l1_table *l1, struct byre_store *store, uint64_t offset,
            uint64_t entries, uint64_t max_bytes, struct byre_error *err);

/*
 * Loads it anew and makes room for all `entries`, in the place of what there
 * is, which stays on failure.  The caller is alone.
 */
int l1_reload(struct l1_table *l1, struct byre_store *store, uint64_t offset,
              uint64_t entries, uint64_t max_bytes, struct byre_error *err);

/*
 * Makes room for `entries`; the new ones are zero.  The caller is alone but for
 * flushes, and has left them no change: entries and `offset` move.
 */
int l1_grow(struct l1_table *l1, uint64_t entries, struct byre_error *err);

/*
 * Puts another table in its place, which lies at `offset`: takes over `words`,
 * `entries` of them, which malloc() gave.  The rest as for l1_grow().
 */
void l1_replace(struct l1_table *l1, uint64_t *words, uint64_t entries,
                uint64_t offset);

/* Changes an entry, to be written by the next flush. */
int l1_set(struct l1_table *l1, uint64_t index, uint64_t word,
           struct byre_error *err);

/* The file has this word now. */
static inline void l1_note(struct l1_table *l1, uint64_t index, uint64_t word)
{
    if (index < l1->held)
        atomic_store_explicit(&l1->words[index], word, memory_order_release);
}

/* ---- Writing what changed; one at a time ---- */

struct l1_change {
    uint64_t index;
    uint64_t word;
};

struct l1_batch {
    struct l1_change *changes; /* by index */
    size_t count;
};

/* Takes the changes so far, with the words of this moment. */
int l1_take_changed(struct l1_table *l1, struct l1_batch *ret,
                    struct byre_error *err);
int l1_write_batch(const struct l1_table *l1, struct byre_store *store,
                   const struct l1_batch *batch, struct byre_error *err);

/*
 * Ends a batch; one that was not written is changed once more, which may need
 * memory: a failure loses changes.
 */
int l1_batch_done(struct l1_table *l1, struct l1_batch *batch, bool written,
                  struct byre_error *err);

#endif
