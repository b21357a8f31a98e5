/* SPDX-License-Identifier: MIT */
/*
 * A piece that was read, taken apart into what is written in one call: runs of
 * data, and runs of zeroes unless the target has them already.
 */
#ifndef BYRE_JOB_SPLIT_H
#define BYRE_JOB_SPLIT_H

#include "job/walk.h"

struct split_rules {
    uint64_t block_bytes;   /* in which zeroes are looked for; 0: not at all */
    uint64_t shortest_zero; /* fewer zeroes are data */
    uint64_t free_from;     /* zeroes from there on need no writing */
};

struct run {
    size_t start; /* in the piece */
    size_t length;
    bool zero;
};

struct split {
    struct split_rules rules;
    const struct piece *piece;
    const uint8_t *buf;
    size_t next;    /* where the next run begins */
    size_t segment; /* that it lies in */
    size_t segment_start;
};

/* `piece` and its bytes in `buf` must outlive the split. */
void split_begin(struct split *split, const struct split_rules *rules,
                 const struct piece *piece, const uint8_t *buf);

/* Finds the next run, ascending; false: there is none. */
bool split_next(struct split *split, struct run *ret_run);

#endif
