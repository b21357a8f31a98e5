/* SPDX-License-Identifier: MIT */
/*
 * A bitmap of any size that is mostly empty, or mostly full: in chunks, of
 * which only those are held that are neither.
 *
 * dirty_bits_set() and the calls that only look may run in any number of
 * threads at once, without a lock; all else needs the caller to be alone.
 */
#ifndef BYRE_BASE_DIRTY_BITS_H
#define BYRE_BASE_DIRTY_BITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"

#define DIRTY_CHUNK_BITS  UINT64_C(32768)
#define DIRTY_CHUNK_BYTES (DIRTY_CHUNK_BITS / 8)

struct dirty_chunk;

struct dirty_bits {
    uint64_t bits;                         /* how many there are */
    size_t chunk_count;                    /* that they need */
    _Atomic(struct dirty_chunk *) *chunks; /* NULL: no bit of it is set */
    atomic_bool changed; /* some bit has changed since this was made false */
};

/* All clear, and unchanged. */
int dirty_bits_init(struct dirty_bits *dirty, uint64_t bits,
                    struct byre_error *err);
/* Frees what a zeroed or used one holds. */
void dirty_bits_done(struct dirty_bits *dirty);

/* Sets [first, first + count), as far as there are such bits. */
int dirty_bits_set(struct dirty_bits *dirty, uint64_t first, uint64_t count,
                   struct byre_error *err);

void dirty_bits_set_all(struct dirty_bits *dirty);
void dirty_bits_clear_all(struct dirty_bits *dirty);

/* Another number of bits: new ones are clear. */
int dirty_bits_resize(struct dirty_bits *dirty, uint64_t bits,
                      struct byre_error *err);

/*
 * Whether bit `first`, which there is, is set; *ret_count is for how many bits
 * in a row this holds, at most `count`, which is not 0.
 */
bool dirty_bits_run(const struct dirty_bits *dirty, uint64_t first,
                    uint64_t count, uint64_t *ret_count);

/* How many bits are set of [first, first + count), which there are. */
uint64_t dirty_bits_count(const struct dirty_bits *dirty, uint64_t first,
                          uint64_t count);

/* The memory that it takes. */
size_t dirty_bits_held_bytes(const struct dirty_bits *dirty);

/*
 * As bytes, the lowest bit first: `bytes`, a multiple of 8, from bit `first`
 * on, a multiple of 64.  What is behind the last bit is clear, and ignored.
 */
void dirty_bits_export(const struct dirty_bits *dirty, uint64_t first,
                       uint8_t *buf, size_t bytes);
int dirty_bits_import(struct dirty_bits *dirty, uint64_t first,
                      const uint8_t *buf, size_t bytes, struct byre_error *err);

#endif
