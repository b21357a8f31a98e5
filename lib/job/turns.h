/* SPDX-License-Identifier: MIT */
/*
 * Turns: workers that take numbered work do one part of it in the order of the
 * numbers.
 *
 * A worker has one number at a time, and passes its turn however its work ends:
 * then nobody waits for ever.  A worker whose turn has come waits for none of
 * those behind it.
 */
#ifndef BYRE_JOB_TURNS_H
#define BYRE_JOB_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/workers.h"
#include "engine/engine.h"

struct turns {
    pthread_mutex_t lock;
    uint64_t next; /* whose turn it is */
    /* One for each number that is out: they lie close together. */
    pthread_cond_t come[WORKERS_MAX];
};

void turns_init(struct turns *turns);
void turns_done(struct turns *turns);

/* One worker's turn, while it works on one number. */
struct turn {
    struct turns *turns; /* NULL: there is no order, and nothing to pass */
    uint64_t number;
    bool has_come;
    bool passed;
    bool held; /* more writes follow in this turn */
    struct write_order order;
};

/* The turn of `number`; turn_end() is due. */
void turn_begin(struct turn *turn, struct turns *turns, uint64_t number);

/* Waits until all earlier ones have passed. */
void turn_wait(struct turn *turn);

/*
 * What a write is given that decides on places in this turn; it passes the
 * turn, unless `held`.  Lives as long as the turn, until it is asked for again.
 */
const struct write_order *turn_order(struct turn *turn, bool held);

/* Passes the turn if nobody has. */
void turn_end(struct turn *turn);

#endif
