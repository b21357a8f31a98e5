/* SPDX-License-Identifier: MIT */
#include "job/turns.h"

void turns_init(struct turns *turns)
{
    turns->next = 0;
    pthread_mutex_init(&turns->lock, NULL);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        pthread_cond_init(&turns->come[i], NULL);
}

void turns_done(struct turns *turns)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        pthread_cond_destroy(&turns->come[i]);
    pthread_mutex_destroy(&turns->lock);
}

/* Numbers that are out are consecutive, one a worker: no two share one. */
static pthread_cond_t *come(struct turns *turns, uint64_t number)
{
    return &turns->come[number % WORKERS_MAX];
}

void turn_begin(struct turn *turn, struct turns *turns, uint64_t number)
{
    *turn = (struct turn){ .turns = turns, .number = number };
}

void turn_wait(struct turn *turn)
{
    struct turns *turns = turn->turns;

    if (turns == NULL || turn->has_come)
        return;
    pthread_mutex_lock(&turns->lock);
    while (turns->next != turn->number)
        pthread_cond_wait(come(turns, turn->number), &turns->lock);
    pthread_mutex_unlock(&turns->lock);
    turn->has_come = true;
}

void turn_end(struct turn *turn)
{
    struct turns *turns = turn->turns;

    if (turns == NULL || turn->passed)
        return;
    turn_wait(turn);
    turn->passed = true;
    pthread_mutex_lock(&turns->lock);
    turns->next++;
    pthread_cond_signal(come(turns, turns->next));
    pthread_mutex_unlock(&turns->lock);
}

static void wait_turn(void *user)
{
    turn_wait(user);
}

static void pass_turn(void *user)
{
    struct turn *turn = user;

    if (!turn->held)
        turn_end(turn);
}

const struct write_order *turn_order(struct turn *turn, bool held)
{
    if (turn->turns == NULL)
        return NULL;
    turn->held = held;
    turn->order = (struct write_order){
        .user = turn,
        .wait_turn = wait_turn,
        .pass_turn = pass_turn,
    };
    return &turn->order;
}
