/* SPDX-License-Identifier: MIT */
/*
 * Locks on ranges of a disk, held across I/O: writes that allocate in one guest
 * cluster wait for one another here.  First come, first served, so that nobody
 * starves; a thread holds one range of a set at a time.
 */
#ifndef BYRE_ENGINE_RANGE_LOCK_H
#define BYRE_ENGINE_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A range that is held or waited for; it lives in its holder's frame. */
struct range_lock {
    uint64_t start;
    uint64_t end; /* behind it */
    bool shared;
    struct range_lock *next; /* who came later */
};

struct range_locks {
    pthread_mutex_t lock;
    pthread_cond_t released;
    struct range_lock *first; /* in the order of their coming */
};

void range_locks_init(struct range_locks *locks);
void range_locks_done(struct range_locks *locks);

/* Waits for all that overlap and came earlier; shared ones share. */
void range_lock_take(struct range_locks *locks, struct range_lock *lock,
                     uint64_t start, uint64_t length, bool shared);
void range_lock_drop(struct range_locks *locks, struct range_lock *lock);

#endif
