/* SPDX-License-Identifier: MIT */
/*
 * Calls count themselves in by the parity of the epoch.  The epoch moves from e
 * to e + 1 only when nobody of e - 1 is inside, whose parity the new calls then
 * take; so a mark made in e has passed in e + 2.
 *
 * A call counts itself in first and then looks whether the epoch has moved or
 * the gate has closed; whoever moves or closes it does so first and then
 * counts.  All of that is sequentially consistent, so one of them sees the
 * other.
 */
#include "engine/gate.h"

void gate_init(struct gate *gate)
{
    for (unsigned i = 0; i < GATE_STRIPES; i++) {
        atomic_init(&gate->stripes[i].inside[0], 0);
        atomic_init(&gate->stripes[i].inside[1], 0);
    }
    atomic_init(&gate->epoch, 0);
    atomic_init(&gate->closed, false);
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void gate_done(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

/* Threads have their descriptors far apart. */
static unsigned stripe_of_thread(void)
{
    const uint64_t self = (uint64_t)(uintptr_t)pthread_self() >> 6;

    return (unsigned)(self * UINT64_C(0x9e3779b97f4a7c15) >> 60) % GATE_STRIPES;
}

static void wait_until_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (atomic_load(&gate->closed))
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

struct gate_pass gate_enter(struct gate *gate)
{
    struct gate_pass pass = { .stripe = stripe_of_thread() };

    for (;;) {
        const uint64_t epoch = atomic_load(&gate->epoch);

        pass.parity = (unsigned)(epoch & 1);
        atomic_fetch_add(&gate->stripes[pass.stripe].inside[pass.parity], 1);
        if (!atomic_load(&gate->closed) && atomic_load(&gate->epoch) == epoch)
            return pass;

        gate_leave(gate, pass);
        if (atomic_load(&gate->closed))
            wait_until_open(gate);
    }
}

void gate_leave(struct gate *gate, struct gate_pass pass)
{
    atomic_fetch_sub(&gate->stripes[pass.stripe].inside[pass.parity], 1);
    if (atomic_load(&gate->closed)) {
        pthread_mutex_lock(&gate->lock);
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->lock);
    }
}

static uint64_t inside(struct gate *gate, unsigned parity)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < GATE_STRIPES; i++)
        sum += atomic_load(&gate->stripes[i].inside[parity]);
    return sum;
}

uint64_t gate_mark(struct gate *gate)
{
    return atomic_load(&gate->epoch);
}

bool gate_passed(struct gate *gate, uint64_t mark)
{
    bool passed;

    if (atomic_load(&gate->epoch) >= mark + 2)
        return true;

    pthread_mutex_lock(&gate->lock);
    while (atomic_load(&gate->epoch) < mark + 2) {
        const uint64_t epoch = atomic_load(&gate->epoch);

        if (inside(gate, (unsigned)((epoch + 1) & 1)) != 0)
            break;
        atomic_store(&gate->epoch, epoch + 1);
    }
    passed = atomic_load(&gate->epoch) >= mark + 2;
    pthread_mutex_unlock(&gate->lock);
    return passed;
}

void gate_close(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (atomic_load(&gate->closed))
        pthread_cond_wait(&gate->changed, &gate->lock);
    atomic_store(&gate->closed, true);
    while (inside(gate, 0) + inside(gate, 1) != 0)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->closed, false);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}
