/* SPDX-License-Identifier: MIT */
/*
 * The workers of a job that goes over a disk: one at a time takes the next
 * piece, each works on its own, and what the pieces take places for they take
 * in their order, so that the result does not depend on how many work.
 */
#ifndef BYRE_JOB_PUMP_H
#define BYRE_JOB_PUMP_H

#include <time.h>

#include "job/job.h"
#include "job/turns.h"
#include "job/walk.h"

struct pump_ops {
    /* The next piece: 1, or 0 at the end.  One thread at a time. */
    int (*next)(void *user, struct piece *piece, struct byre_error *err);
    /* Whether a piece takes neither places nor time. */
    bool (*is_free)(void *user, const struct piece *piece);
    /* Does it, with a buffer of its own, taking places in `turn`. */
    int (*work)(void *user, const struct piece *piece, uint8_t *buf,
                struct turn *turn, struct byre_error *err);
};

struct pump {
    /* Set by the caller. */
    struct byre_job *job; /* canceled here, and its progress */
    const struct pump_ops *ops;
    void *user;
    unsigned workers;               /* 0: one a processor */
    bool ordered;                   /* pieces that are not free have turns */
    size_t buffer_bytes;            /* aligned for direct I/O */
    size_t most_segments;           /* of a piece */
    uint64_t rate_bytes_per_second; /* 0: no limit */

    struct turns turns;
    struct timespec started;
    _Atomic uint64_t written_bytes; /* what the rate counts */
    atomic_bool failed;

    pthread_mutex_t lock;
    uint64_t next_number; /* of a turn; guarded by `lock`, as all below */
    bool at_end;
    int status; /* the first failure, and its error */
    struct byre_error error;
};

/* All pieces, or the first failure. */
int pump_run(struct pump *pump, struct byre_error *err);

#endif
