/* SPDX-License-Identifier: MIT */
/*
 * The walk over the sources of a copy, one behind the other: it hands out
 * pieces of the target in ascending order, until all of it was handed out.
 *
 * A piece is whole units of the target (its clusters), so that no two workers
 * write to one unit; only the last one may be short.  Where whole units are
 * known to be zero, or are left to a backing file, they are a piece of their
 * own, however long; all else comes in pieces that fit a buffer.
 */
#ifndef BYRE_JOB_WALK_H
#define BYRE_JOB_WALK_H

#include "image/image.h"

enum piece_kind {
    PIECE_DATA, /* to be read */
    PIECE_ZERO, /* known to be zero */
    PIECE_LEFT  /* the target's backing file has it already */
};

/* A part of a piece that is of one kind, and of one source. */
struct segment {
    struct byre *source;
    uint64_t source_offset;
    uint64_t length;
    enum piece_kind kind;
};

struct piece {
    uint64_t target_offset;
    uint64_t length;
    enum piece_kind kind;     /* PIECE_DATA: as the segments say */
    struct segment *segments; /* the caller's, of walk_most_segments() */
    size_t segment_count;
};

struct walk_rules {
    uint64_t unit_bytes;  /* a power of two */
    uint64_t piece_bytes; /* the most of a data piece; the same, not less */
    uint64_t free_from;   /* zeroes from there on are in the target already */
    bool shallow;         /* what a source's backing files hold is left */
    const char *bitmap;   /* what it has not noted is left; NULL: none */
    uint32_t left_depth;  /* not 0: what images of the chain from this depth on
                             hold is left, */
    uint64_t left_bytes;  /* of which there are so many; where one above ends
                             before that, it hides them with zeroes */
    bool zeroes_are_data; /* other zeroes go through a buffer */
    bool whole_units;     /* a unit that is left in part is read whole */
    bool salvage;         /* damage becomes zeroes */
    void (*salvaged)(void *user, uint64_t offset, uint64_t length,
                     const struct byre_error *why); /* or NULL */
    void *user;
};

#define WALK_EXTENTS 64

struct walk {
    struct walk_rules rules;
    struct byre *const *sources;
    size_t source_count;
    uint64_t total_bytes;

    size_t source;
    uint64_t source_offset; /* in that source */
    uint64_t target_offset;
    struct byre_extent extents[WALK_EXTENTS]; /* of that source, from there */
    size_t extent_count;
    size_t next_extent;
};

/* `sources` must outlive the walk. */
void walk_init(struct walk *walk, struct byre *const *sources, size_t count,
               uint64_t total_bytes, const struct walk_rules *rules);

/* The most segments that a piece can have. */
size_t walk_most_segments(const struct walk *walk);

/* The next piece: 1, or 0 at the end.  Not for several threads at once. */
int walk_next(struct walk *walk, struct piece *piece, struct byre_error *err);

bool walk_is_over(const struct walk *walk);

/* What is damaged, as against what only failed now. */
bool walk_is_damage(int status);

#endif
