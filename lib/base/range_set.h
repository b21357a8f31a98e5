/* SPDX-License-Identifier: MIT */
/*
 * An ordered set of ranges that do not overlap, each of a kind; neighbours of
 * one kind are one range.  Looking up is a binary search, appending is cheap.
 * Not locked.
 */
#ifndef BYRE_BASE_RANGE_SET_H
#define BYRE_BASE_RANGE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"

struct range {
    uint64_t start;
    uint64_t end; /* behind it */
    unsigned kind;
};

struct range_set {
    struct range *ranges; /* in ascending order */
    size_t count;
    size_t capacity;
};

/* Frees what a zeroed or used set holds, and empties it. */
void range_set_done(struct range_set *set);

/* The first range that overlaps [start, start + length), or NULL. */
const struct range *range_set_find(const struct range_set *set, uint64_t start,
                                   uint64_t length);

/* Adds a range that overlaps none.  BYRE_E_NOMEM leaves the set alone. */
int range_set_add(struct range_set *set, uint64_t start, uint64_t length,
                  unsigned kind, struct byre_error *err);

/*
 * Removes [start, start + length), which may be part of a range, or none of
 * any.  Splitting a range may need memory.
 */
int range_set_remove(struct range_set *set, uint64_t start, uint64_t length,
                     struct byre_error *err);

#endif
