/* SPDX-License-Identifier: MIT */
/*
 * A gate that data calls pass through, so that
 *
 * - what a plan points to is not reused before the plan has ended: a mark taken
 *   after the last pointer to a cluster is gone has passed when every call that
 *   was inside at that moment has left;
 * - structural calls can be alone: closing the gate holds off new calls and
 *   waits for those inside.
 *
 * Entering and leaving are two atomic additions on a counter that few threads
 * share.  A thread that is inside must not enter again, nor close the gate.
 */
#ifndef BYRE_ENGINE_GATE_H
#define BYRE_ENGINE_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GATE_STRIPES 16

struct gate_counter {
    _Alignas(64)
        atomic_uint_fast64_t inside[2]; /* by the parity of the epoch */
};

struct gate {
    struct gate_counter stripes[GATE_STRIPES];
    atomic_uint_fast64_t epoch;
    atomic_bool closed;
    pthread_mutex_t lock; /* of moving the epoch on, closing and opening */
    pthread_cond_t changed;
};

/* What gate_leave() needs to know. */
struct gate_pass {
    unsigned stripe;
    unsigned parity;
};

void gate_init(struct gate *gate);
void gate_done(struct gate *gate);

struct gate_pass gate_enter(struct gate *gate);
void gate_leave(struct gate *gate, struct gate_pass pass);

/* A mark for this moment. */
uint64_t gate_mark(struct gate *gate);

/*
 * Whether all that were inside at the mark have left.  Does not wait; moves the
 * epoch on if it can.
 */
bool gate_passed(struct gate *gate, uint64_t mark);

/* Waits until the caller is alone, and keeps it so until gate_open(). */
void gate_close(struct gate *gate);
void gate_open(struct gate *gate);

#endif
