/* SPDX-License-Identifier: MIT */
#include "engine/range_lock.h"

void range_locks_init(struct range_locks *locks)
{
    *locks = (struct range_locks){ 0 };
    pthread_mutex_init(&locks->lock, NULL);
    pthread_cond_init(&locks->released, NULL);
}

void range_locks_done(struct range_locks *locks)
{
    pthread_cond_destroy(&locks->released);
    pthread_mutex_destroy(&locks->lock);
}

/* Whether somebody who came earlier is in the way. */
static bool must_wait(const struct range_locks *locks,
                      const struct range_lock *lock)
{
    for (const struct range_lock *l = locks->first; l != lock; l = l->next) {
        if (l->start < lock->end && lock->start < l->end &&
            !(l->shared && lock->shared))
            return true;
    }
    return false;
}

void range_lock_take(struct range_locks *locks, struct range_lock *lock,
                     uint64_t start, uint64_t length, bool shared)
{
    struct range_lock **last;

    *lock = (struct range_lock){ .start = start,
                                 .end = start + length,
                                 .shared = shared };
    pthread_mutex_lock(&locks->lock);
    for (last = &locks->first; *last != NULL; last = &(*last)->next)
        ;
    *last = lock;
    while (must_wait(locks, lock))
        pthread_cond_wait(&locks->released, &locks->lock);
    pthread_mutex_unlock(&locks->lock);
}

void range_lock_drop(struct range_locks *locks, struct range_lock *lock)
{
    struct range_lock **p;

    pthread_mutex_lock(&locks->lock);
    for (p = &locks->first; *p != lock; p = &(*p)->next)
        ;
    *p = lock->next;
    pthread_cond_broadcast(&locks->released);
    pthread_mutex_unlock(&locks->lock);
}
