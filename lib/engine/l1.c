/* SPDX-License-Identifier: MIT */
#include "engine/l1.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "engine/engine.h"

void l1_init(struct l1_table *l1)
{
    *l1 = (struct l1_table){ 0 };
    pthread_mutex_init(&l1->lock, NULL);
}

void l1_done(struct l1_table *l1)
{
    pthread_mutex_destroy(&l1->lock);
    free(l1->words);
    free(l1->changed);
}

/* An atomic word is a word: engine_load_words() fills them before anybody
   looks. */
static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t),
              "atomic words are as long as others");

int l1_load(struct l1_table *l1, struct byre_store *store, uint64_t offset,
            uint64_t entries, uint64_t max_bytes, struct byre_error *err)
{
    uint64_t *words;
    int r;

    r = engine_load_words(store, "L1 table", offset, entries, max_bytes, &words,
                          &l1->held, err);
    if (r < 0)
        return r;

    l1->words = (_Atomic uint64_t *)words;
    l1->offset = offset;
    return BYRE_OK;
}

int l1_grow(struct l1_table *l1, uint64_t entries, struct byre_error *err)
{
    _Atomic uint64_t *words;

    if (entries <= l1->held)
        return BYRE_OK;

    words = calloc((size_t)entries, sizeof(*words));
    if (words == NULL)
        return fail_nomem(err, "an L1 table", (size_t)entries * sizeof(*words));

    pthread_mutex_lock(&l1->lock); /* a flush may look for changes */
    for (uint64_t i = 0; i < l1->held; i++)
        atomic_init(&words[i], l1_get(l1, i));
    free(l1->words);
    l1->words = words;
    l1->held = entries;
    pthread_mutex_unlock(&l1->lock);
    return BYRE_OK;
}

void l1_replace(struct l1_table *l1, uint64_t *words, uint64_t entries,
                uint64_t offset)
{
    pthread_mutex_lock(&l1->lock); /* a flush may look for changes */
    free(l1->words);
    l1->words = (_Atomic uint64_t *)words;
    l1->held = entries;
    l1->offset = offset;
    pthread_mutex_unlock(&l1->lock);
}

int l1_reload(struct l1_table *l1, struct byre_store *store, uint64_t offset,
              uint64_t entries, uint64_t max_bytes, struct byre_error *err)
{
    struct l1_table fresh, old = *l1;
    int r;

    l1_init(&fresh);
    r = l1_load(&fresh, store, offset, entries, max_bytes, err);
    if (r == BYRE_OK)
        r = l1_grow(&fresh, entries, err);
    if (r == BYRE_OK) {
        l1->words = fresh.words;
        l1->held = fresh.held;
        l1->offset = offset;
        l1->changed_count = 0;
        fresh.words = old.words;
    }
    l1_done(&fresh);
    return r;
}

static int reserve_change(struct l1_table *l1, struct byre_error *err)
{
    const size_t capacity =
        l1->changed_capacity > 0 ? l1->changed_capacity * 2 : 64;
    uint64_t *changed;

    if (l1->changed_count < l1->changed_capacity)
        return BYRE_OK;

    changed = realloc(l1->changed, capacity * sizeof(*changed));
    if (changed == NULL)
        return fail_nomem(err, "changed L1 entries",
                          capacity * sizeof(*changed));
    l1->changed = changed;
    l1->changed_capacity = capacity;
    return BYRE_OK;
}

int l1_set(struct l1_table *l1, uint64_t index, uint64_t word,
           struct byre_error *err)
{
    int r;

    pthread_mutex_lock(&l1->lock);
    r = reserve_change(l1, err);
    if (r == BYRE_OK) {
        atomic_store_explicit(&l1->words[index], word, memory_order_release);
        l1->changed[l1->changed_count++] = index;
    }
    pthread_mutex_unlock(&l1->lock);
    return r;
}

static int by_index(const void *a, const void *b)
{
    const struct l1_change *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

static size_t drop_repeated(struct l1_change *changes, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || changes[kept - 1].index != changes[i].index)
            changes[kept++] = changes[i];
    }
    return kept;
}

int l1_take_changed(struct l1_table *l1, struct l1_batch *ret,
                    struct byre_error *err)
{
    struct l1_batch batch = { 0 };
    size_t bytes;
    int r = BYRE_OK;

    pthread_mutex_lock(&l1->lock);
    bytes = l1->changed_count * sizeof(*batch.changes);
    if (bytes > 0) {
        batch.changes = malloc(bytes);
        if (batch.changes == NULL)
            r = fail_nomem(err, "changed L1 entries", bytes);
    }
    for (size_t i = 0; batch.changes != NULL && i < l1->changed_count; i++)
        batch.changes[i] =
            (struct l1_change){ l1->changed[i], l1_get(l1, l1->changed[i]) };
    if (r == BYRE_OK) {
        batch.count = l1->changed_count;
        l1->changed_count = 0;
    }
    pthread_mutex_unlock(&l1->lock);

    if (batch.count > 0) {
        qsort(batch.changes, batch.count, sizeof(*batch.changes), by_index);
        batch.count = drop_repeated(batch.changes, batch.count);
    }
    *ret = batch;
    return r;
}

#define ENTRIES_A_WRITE 512

/* Neighbours go in one write. */
static size_t run_length(const struct l1_batch *batch, size_t first)
{
    size_t n = 1;

    while (n < ENTRIES_A_WRITE && first + n < batch->count &&
           batch->changes[first + n].index == batch->changes[first].index + n)
        n++;
    return n;
}

int l1_write_batch(const struct l1_table *l1, struct byre_store *store,
                   const struct l1_batch *batch, struct byre_error *err)
{
    uint8_t buf[ENTRIES_A_WRITE * 8];

    for (size_t i = 0; i < batch->count;) {
        const size_t n = run_length(batch, i);
        int r;

        for (size_t k = 0; k < n; k++)
            be64_put(buf + k * 8, batch->changes[i + k].word);
        r = store_write(store, l1->offset + batch->changes[i].index * 8, buf,
                        n * 8, err);
        if (r < 0) {
            error_prefix(err, "L1 table");
            return r;
        }
        i += n;
    }
    return BYRE_OK;
}

int l1_batch_done(struct l1_table *l1, struct l1_batch *batch, bool written,
                  struct byre_error *err)
{
    int r = BYRE_OK;

    for (size_t i = 0; !written && r == BYRE_OK && i < batch->count; i++)
        r = l1_set(l1, batch->changes[i].index,
                   l1_get(l1, batch->changes[i].index), err);
    free(batch->changes);
    *batch = (struct l1_batch){ 0 };
    return r;
}
