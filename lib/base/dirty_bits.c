/* SPDX-License-Identifier: MIT */
#include "base/dirty_bits.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"

#define WORD_BITS   UINT64_C(64)
#define CHUNK_WORDS (DIRTY_CHUNK_BITS / WORD_BITS)

struct dirty_chunk {
    _Atomic(uint64_t) words[CHUNK_WORDS];
};

/* Stands for a chunk with all bits set; never looked into. */
static const struct dirty_chunk full_chunk;
#define FULL ((struct dirty_chunk *)(uintptr_t)&full_chunk)

static size_t chunks_for(uint64_t bits)
{
    return (size_t)div_round_up(bits, DIRTY_CHUNK_BITS);
}

/* The bits of one word that lie in [first, end), both within a chunk. */
static uint64_t word_mask(uint64_t word, uint64_t first, uint64_t end)
{
    const uint64_t start = word * WORD_BITS;
    uint64_t mask = UINT64_MAX;

    if (first > start)
        mask &= UINT64_MAX << (first - start);
    if (end < start + WORD_BITS)
        mask &= UINT64_MAX >> (start + WORD_BITS - end);
    return mask;
}

/* How many bits of a chunk there are: the last one may have fewer. */
static uint64_t bits_in_chunk(const struct dirty_bits *dirty, size_t index)
{
    return min_u64(DIRTY_CHUNK_BITS, dirty->bits - index * DIRTY_CHUNK_BITS);
}

static void free_chunk(struct dirty_chunk *chunk)
{
    if (chunk != FULL)
        free(chunk);
}

int dirty_bits_init(struct dirty_bits *dirty, uint64_t bits,
                    struct byre_error *err)
{
    const size_t count = chunks_for(bits);

    *dirty = (struct dirty_bits){ .bits = bits, .chunk_count = count };
    dirty->chunks = calloc(count > 0 ? count : 1, sizeof(dirty->chunks[0]));
    if (dirty->chunks == NULL)
        return fail_nomem(err, "a bitmap", count * sizeof(dirty->chunks[0]));
    return BYRE_OK;
}

void dirty_bits_done(struct dirty_bits *dirty)
{
    for (size_t i = 0; dirty->chunks != NULL && i < dirty->chunk_count; i++)
        free_chunk(atomic_load(&dirty->chunks[i]));
    free(dirty->chunks);
    *dirty = (struct dirty_bits){ 0 };
}

/* ---- Setting ---- */

static void note_change(struct dirty_bits *dirty)
{
    if (!atomic_load_explicit(&dirty->changed, memory_order_relaxed))
        atomic_store(&dirty->changed, true);
}

/* Puts a chunk where there is none; what another has put there wins. */
static struct dirty_chunk *offer_chunk(struct dirty_bits *dirty, size_t index,
                                       struct dirty_chunk *chunk)
{
    struct dirty_chunk *there = NULL;

    if (atomic_compare_exchange_strong(&dirty->chunks[index], &there, chunk)) {
        note_change(dirty);
        return chunk;
    }
    free_chunk(chunk);
    return there;
}

static void set_in_chunk(struct dirty_bits *dirty, struct dirty_chunk *chunk,
                         uint64_t first, uint64_t end)
{
    for (uint64_t w = first / WORD_BITS; w * WORD_BITS < end; w++) {
        const uint64_t mask = word_mask(w, first, end);

        if ((atomic_load(&chunk->words[w]) & mask) == mask)
            continue; /* the common case: written again and again */
        atomic_fetch_or(&chunk->words[w], mask);
        note_change(dirty);
    }
}

/* The chunk at `index`, which there is afterwards. */
static int own_chunk(struct dirty_bits *dirty, size_t index,
                     struct dirty_chunk **ret_chunk, struct byre_error *err)
{
    struct dirty_chunk *chunk = atomic_load(&dirty->chunks[index]);

    if (chunk == NULL) {
        chunk = calloc(1, sizeof(*chunk));
        if (chunk == NULL)
            return fail_nomem(err, "a part of a bitmap", sizeof(*chunk));
        chunk = offer_chunk(dirty, index, chunk);
    }
    *ret_chunk = chunk;
    return BYRE_OK;
}

static int set_part(struct dirty_bits *dirty, size_t index, uint64_t first,
                    uint64_t end, struct byre_error *err)
{
    const bool whole = first == 0 && end == bits_in_chunk(dirty, index);
    struct dirty_chunk *chunk = atomic_load(&dirty->chunks[index]);

    int r;

    if (chunk == NULL && whole)
        chunk = offer_chunk(dirty, index, FULL);
    r = chunk == NULL ? own_chunk(dirty, index, &chunk, err) : BYRE_OK;
    if (r < 0)
        return r;
    if (chunk != FULL)
        set_in_chunk(dirty, chunk, first, end);
    return BYRE_OK;
}

int dirty_bits_set(struct dirty_bits *dirty, uint64_t first, uint64_t count,
                   struct byre_error *err)
{
    const uint64_t end =
        first < dirty->bits ? first + min_u64(count, dirty->bits - first) : 0;
    int r = BYRE_OK;

    while (first < end && r == BYRE_OK) {
        const size_t index = (size_t)(first / DIRTY_CHUNK_BITS);
        const uint64_t start = index * DIRTY_CHUNK_BITS;
        const uint64_t next = min_u64(end, start + DIRTY_CHUNK_BITS);

        r = set_part(dirty, index, first - start, next - start, err);
        first = next;
    }
    return r;
}

static void make_all(struct dirty_bits *dirty, struct dirty_chunk *what)
{
    for (size_t i = 0; i < dirty->chunk_count; i++)
        free_chunk(atomic_exchange(&dirty->chunks[i], what));
    atomic_store(&dirty->changed, true);
}

void dirty_bits_set_all(struct dirty_bits *dirty)
{
    make_all(dirty, FULL);
}

void dirty_bits_clear_all(struct dirty_bits *dirty)
{
    make_all(dirty, NULL);
}

/* ---- Another size ---- */

/* The last chunk with its bits written out, those behind `end` clear. */
static int cut_last_chunk(struct dirty_bits *dirty, uint64_t bits,
                          struct byre_error *err)
{
    const size_t index = (size_t)(bits / DIRTY_CHUNK_BITS);
    const uint64_t end = bits % DIRTY_CHUNK_BITS;
    struct dirty_chunk *chunk;

    if (index >= dirty->chunk_count)
        return BYRE_OK;
    chunk = atomic_load(&dirty->chunks[index]);
    if (chunk == NULL || end == 0)
        return BYRE_OK;
    if (chunk == FULL) {
        chunk = calloc(1, sizeof(*chunk));
        if (chunk == NULL)
            return fail_nomem(err, "a part of a bitmap", sizeof(*chunk));
        set_in_chunk(dirty, chunk, 0, end);
        atomic_store(&dirty->chunks[index], chunk);
        return BYRE_OK;
    }
    for (uint64_t w = end / WORD_BITS; w < CHUNK_WORDS; w++)
        atomic_fetch_and(&chunk->words[w],
                         ~word_mask(w, end, DIRTY_CHUNK_BITS));
    return BYRE_OK;
}

int dirty_bits_resize(struct dirty_bits *dirty, uint64_t bits,
                      struct byre_error *err)
{
    const size_t count = chunks_for(bits);
    struct dirty_bits resized;
    int r;

    if (bits == dirty->bits)
        return BYRE_OK;
    r = dirty_bits_init(&resized, bits, err);
    if (r == BYRE_OK)
        r = cut_last_chunk(dirty, min_u64(bits, dirty->bits), err);
    if (r < 0) {
        dirty_bits_done(&resized);
        return r;
    }
    for (size_t i = 0; i < dirty->chunk_count; i++) {
        struct dirty_chunk *chunk = atomic_load(&dirty->chunks[i]);

        if (i < count)
            atomic_store(&resized.chunks[i], chunk);
        else
            free_chunk(chunk);
    }
    free(dirty->chunks);
    *dirty = resized;
    atomic_store(&dirty->changed, true);
    return BYRE_OK;
}

/* ---- Looking ---- */

static uint64_t word_at(const struct dirty_bits *dirty, uint64_t bit)
{
    const size_t index = (size_t)(bit / DIRTY_CHUNK_BITS);
    struct dirty_chunk *const chunk = atomic_load(&dirty->chunks[index]);

    if (chunk == NULL)
        return 0;
    if (chunk == FULL)
        return UINT64_MAX;
    return atomic_load(&chunk->words[bit % DIRTY_CHUNK_BITS / WORD_BITS]);
}

/* Bits from `bit` on that are as `set` says, at a glance; 0: not the first. */
static uint64_t same_bits(const struct dirty_bits *dirty, uint64_t bit,
                          bool set)
{
    struct dirty_chunk *const chunk =
        atomic_load(&dirty->chunks[bit / DIRTY_CHUNK_BITS]);
    uint64_t other;

    if (chunk == NULL || chunk == FULL)
        return (chunk == FULL) == set
                   ? DIRTY_CHUNK_BITS - bit % DIRTY_CHUNK_BITS
                   : 0;
    other = word_at(dirty, bit);
    if (set)
        other = ~other;
    other >>= bit % WORD_BITS;
    if (other == 0)
        return WORD_BITS - bit % WORD_BITS;
    return (uint64_t)__builtin_ctzll(other);
}

bool dirty_bits_run(const struct dirty_bits *dirty, uint64_t first,
                    uint64_t count, uint64_t *ret_count)
{
    const bool set = (word_at(dirty, first) >> first % WORD_BITS & 1) != 0;
    const uint64_t end = first + min_u64(count, dirty->bits - first);
    uint64_t at = first;

    while (at < end) {
        const uint64_t n = same_bits(dirty, at, set);

        at += n;
        if (n == 0 || (at % WORD_BITS != 0))
            break;
    }
    /* Another thread may have set the first one in between. */
    *ret_count = max_u64(1, min_u64(at, end) - first);
    return set;
}

uint64_t dirty_bits_count(const struct dirty_bits *dirty, uint64_t first,
                          uint64_t count)
{
    const uint64_t end = first + min_u64(count, dirty->bits - first);
    uint64_t total = 0;

    for (uint64_t at = first; at < end;) {
        const uint64_t start = align_down(at, WORD_BITS);
        struct dirty_chunk *const chunk =
            atomic_load(&dirty->chunks[at / DIRTY_CHUNK_BITS]);
        uint64_t next = start + WORD_BITS;

        if (chunk == NULL || chunk == FULL) {
            next = align_down(at, DIRTY_CHUNK_BITS) + DIRTY_CHUNK_BITS;
            total += chunk == FULL ? min_u64(next, end) - at : 0;
        } else {
            total += (uint64_t)__builtin_popcountll(
                word_at(dirty, at) &
                word_mask(0, at - start, min_u64(next, end) - start));
        }
        at = next;
    }
    return total;
}

size_t dirty_bits_held_bytes(const struct dirty_bits *dirty)
{
    size_t bytes = dirty->chunk_count * sizeof(dirty->chunks[0]);

    for (size_t i = 0; i < dirty->chunk_count; i++) {
        struct dirty_chunk *const chunk = atomic_load(&dirty->chunks[i]);

        bytes += chunk != NULL && chunk != FULL ? sizeof(*chunk) : 0;
    }
    return bytes;
}

/* ---- As bytes ---- */

/* Those of the word at `bit` that there are. */
static uint64_t valid_mask(const struct dirty_bits *dirty, uint64_t bit)
{
    if (bit >= dirty->bits)
        return 0;
    return word_mask(0, 0, min_u64(WORD_BITS, dirty->bits - bit));
}

void dirty_bits_export(const struct dirty_bits *dirty, uint64_t first,
                       uint8_t *buf, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        const uint64_t bit = first + (uint64_t)i * 8;
        const uint64_t mask = valid_mask(dirty, bit);

        le64_put(buf + i, mask != 0 ? word_at(dirty, bit) & mask : 0);
    }
}

static int import_word(struct dirty_bits *dirty, uint64_t bit, uint64_t word,
                       struct byre_error *err)
{
    const size_t index = (size_t)(bit / DIRTY_CHUNK_BITS);
    struct dirty_chunk *chunk;
    int r;

    r = own_chunk(dirty, index, &chunk, err);
    if (r == BYRE_OK && chunk != FULL) {
        atomic_fetch_or(&chunk->words[bit % DIRTY_CHUNK_BITS / WORD_BITS],
                        word);
        note_change(dirty);
    }
    return r;
}

int dirty_bits_import(struct dirty_bits *dirty, uint64_t first,
                      const uint8_t *buf, size_t bytes, struct byre_error *err)
{
    int r = BYRE_OK;

    for (size_t i = 0; i < bytes && r == BYRE_OK;) {
        const uint64_t bit = first + (uint64_t)i * 8;
        const uint64_t word = le64_get(buf + i);
        size_t same = 8; /* a run of full words may be a full chunk */

        if (word == UINT64_MAX) {
            while (i + same < bytes && le64_get(buf + i + same) == word)
                same += 8;
            r = dirty_bits_set(dirty, bit, (uint64_t)same * 8, err);
        } else if ((word & valid_mask(dirty, bit)) != 0) {
            r = import_word(dirty, bit, word & valid_mask(dirty, bit), err);
        }
        i += same;
    }
    return r;
}
