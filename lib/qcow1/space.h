/* SPDX-License-Identifier: MIT */
/*
 * Which bytes of a version 1 image are in use.  The format counts nothing and
 * frees nothing: what is new goes behind all that is there, and the structures
 * (header, backing name, tables) are kept in an ordered set, so that no data is
 * written over them.
 *
 * May be used by many threads at once.
 */
#ifndef BYRE_QCOW1_SPACE_H
#define BYRE_QCOW1_SPACE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/range_set.h"
#include "byre.h"

enum qcow1_structure {
    QCOW1_HEADER,
    QCOW1_BACKING_NAME,
    QCOW1_L1_TABLE,
    QCOW1_L2_TABLE
};

struct qcow1_space {
    pthread_rwlock_t lock;
    struct range_set structures;
    uint64_t end;   /* all that is in use lies before it */
    uint64_t limit; /* `end` goes up to here */
    bool is_device; /* then `limit` is its size */
};

/* Nothing is in use yet; `limit` and `is_device` are for the caller to set. */
void qcow1_space_init(struct qcow1_space *space);
void qcow1_space_done(struct qcow1_space *space);

/*
 * Adds a structure, which is in use then.  One that overlaps another or lies
 * past the limit is BYRE_E_CORRUPT, and named.
 */
int qcow1_space_add(struct qcow1_space *space, enum qcow1_structure kind,
                    uint64_t offset, uint64_t bytes, struct byre_error *err);

/* The last bytes of the structures are one no more. */
void qcow1_space_remove(struct qcow1_space *space, uint64_t offset,
                        uint64_t bytes);

/* The file is in use up to `end`, at most the limit. */
void qcow1_space_raise_end(struct qcow1_space *space, uint64_t end);

/*
 * Takes `bytes` behind all that is in use, at a multiple of `alignment`, a
 * power of two; past the limit it fails, on a device with ENOSPC.
 */
int qcow1_space_take(struct qcow1_space *space, uint64_t bytes,
                     uint64_t alignment, uint64_t *ret_offset,
                     struct byre_error *err);

/* Nothing points to what was taken: it can be taken again if it is the last. */
void qcow1_space_give_back(struct qcow1_space *space, uint64_t offset,
                           uint64_t bytes);

/*
 * BYRE_E_CORRUPT if data that is `bytes` long at `offset` hits a structure, or
 * is not in what is in use.
 */
int qcow1_space_check(struct qcow1_space *space, uint64_t offset,
                      uint64_t bytes, struct byre_error *err);

#endif
