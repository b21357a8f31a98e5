/* SPDX-License-Identifier: MIT */
/*
 * A disk beside a flat array of its bytes: random operations on both, in one
 * thread or in several that share clusters and tables but no bytes.
 */
#ifndef BYRE_TESTS_CRASH_FLAT_H
#define BYRE_TESTS_CRASH_FLAT_H

#include "runner.h"

#define FLAT_THREADS 4

/* What a round is like; drawn from its seed. */
struct flat {
    const struct beginning *beginning;
    const struct image_kind *kind;
    struct byre_store *stores[MAX_STORES];
    char folder[256]; /* of the files, or empty: stores in memory */
    struct image image;
    struct image_options options;
    uint8_t *bytes; /* what the disk holds, and room for it to grow */
    uint64_t size_bytes;
    uint64_t max_bytes;
    bool *touched;         /* clusters that may hold something */
    uint64_t stripe_bytes; /* what one thread writes at a time */
    unsigned threads;
};

/* Makes an image of the beginning's kind, as `seed` has it, and opens it. */
int flat_init(struct flat *flat, const struct beginning *beginning,
              uint64_t seed, unsigned threads, struct byre_error *err);
void flat_done(struct flat *flat);

/* One operation of a lone thread. */
int flat_operate(struct flat *flat, uint64_t *seed, struct byre_error *err);

/* `operations` in each of the threads, and flushes meanwhile. */
int flat_operate_together(struct flat *flat, uint64_t operations, uint64_t seed,
                          struct byre_error *err);

/* Every byte; and again after closing, when no count may be wrong. */
int flat_finish(struct flat *flat, struct byre_error *err);

/* Draws a range of whole bytes below `end`, mostly short, sometimes aligned. */
struct step flat_draw_range(const struct flat *flat, uint64_t *seed);

/* Writes, zeroes or reads a range of both. */
int flat_write(struct flat *flat, const struct step *range, uint32_t flags,
               uint64_t pattern, struct byre_error *err);
int flat_zero(struct flat *flat, const struct step *range, uint32_t flags,
              struct byre_error *err);
int flat_check(struct flat *flat, const struct step *range,
               struct byre_error *err);
int flat_discard(struct flat *flat, const struct step *range,
                 struct byre_error *err);

#endif
