/* SPDX-License-Identifier: MIT */
/*
 * A check of version 1: what it holds while it walks (check.c).
 */
#ifndef BYRE_QCOW1_CHECK_H
#define BYRE_QCOW1_CHECK_H

#include "qcow1/internal.h"

#define QCOW1_MOST_CONFLICTS 1024

/* Bytes of the file, and what they are used as. */
struct qcow1_use {
    const char *object; /* "L2 table" and so on */
    uint64_t offset;
    uint64_t bytes;
    uint64_t guest_offset; /* or BYRE_NO_OFFSET */
    bool is_fixed;         /* the header describes it */
};

struct qcow1_conflict {
    uint64_t sector;
    struct qcow1_use first;
    struct qcow1_use second;
};

struct qcow1_check {
    const struct qcow1 *qcow1;
    const struct check_sink *sink;
    struct byre_check_result result;
    uint64_t file_bytes;
    uint64_t end; /* of all that is in use */
    bool in_first_walk;
    bool finding_owners;
    uint64_t contiguous; /* where the next cluster would lie; 0: unknown */
    struct qcow1_use fixed[3];
    size_t fixed_count;

    /* The window: two bits a sector. */
    uint8_t *uses;
    uint64_t first; /* sector */
    uint64_t sectors;
    uint64_t next; /* the first sector behind it that is in use */

    uint8_t *l1; /* pieces of tables */
    uint8_t *l2;
    struct qcow1_conflict *conflicts;
    size_t conflict_count;
};

int qcow1_check(struct engine *engine, uint32_t repair, uint64_t memory_bytes,
                const struct check_sink *sink, struct byre_check_result *ret,
                struct byre_error *err);

#endif
