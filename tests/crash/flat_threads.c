/* SPDX-License-Identifier: MIT */
/*
 * Threads on one disk: each owns every n-th stripe of it, so that they meet in
 * clusters and tables and never in a byte; one more flushes all the time.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "flat.h"

struct team {
    struct flat *flat;
    atomic_uint running;
    atomic_bool failed;
};

struct member {
    struct team *team;
    unsigned index;
    uint64_t operations;
    uint64_t seed;
    struct byre_error err;
    int result;
    pthread_t thread;
};

/* A range in one of the member's stripes. */
static struct step draw_own(struct member *member)
{
    const struct flat *flat = member->team->flat;
    const uint64_t stripe = flat->stripe_bytes;
    const uint64_t turn = stripe * flat->threads;
    const uint64_t turns = flat->size_bytes / turn;
    struct step range = { .kind = STEP_WRITE };
    uint64_t start = 0;

    if (draw(&member->seed, 3) != 0)
        start = draw(&member->seed, stripe);
    range.length = 1 + draw(&member->seed, stripe - start);
    if (start == 0 && draw(&member->seed, 2) == 0)
        range.length = stripe;
    range.offset =
        draw(&member->seed, turns) * turn + member->index * stripe + start;
    return range;
}

static int operate(struct member *member)
{
    struct flat *flat = member->team->flat;
    const struct step range = draw_own(member);
    const uint32_t fua = draw(&member->seed, 64) == 0 ? BYRE_WRITE_FUA : 0;
    const uint64_t what = draw(&member->seed, 100);
    const bool whole = flat->stripe_bytes % flat->kind->cluster_bytes == 0;

    if (what < 50)
        return flat_write(flat, &range, fua, member->seed, &member->err);
    if (what < 75)
        return flat_check(flat, &range, &member->err);
    if (what < 83)
        return flat_zero(flat, &range, fua, &member->err);
    if (what < 93 || !whole)
        return flat_zero(flat, &range, BYRE_WRITE_MAY_UNMAP, &member->err);
    return flat_discard(flat, &range, &member->err);
}

static void *run_member(void *user)
{
    struct member *member = user;
    struct team *team = member->team;

    for (uint64_t i = 0; i < member->operations && !atomic_load(&team->failed);
         i++) {
        member->result = operate(member);
        if (member->result < 0)
            atomic_store(&team->failed, true);
    }
    atomic_fetch_sub(&team->running, 1);
    return NULL;
}

/* Flushes, and asks for extents, until the others are done. */
static void *run_flusher(void *user)
{
    struct member *member = user;
    struct flat *flat = member->team->flat;
    struct byre_extent extents[8];
    size_t count;

    while (atomic_load(&member->team->running) > 0 &&
           member->result == BYRE_OK) {
        member->result = byre_flush(flat->image.disk, &member->err);
        if (member->result == BYRE_OK)
            member->result = byre_extents(flat->image.disk, 0, flat->size_bytes,
                                          0, extents, 8, &count, &member->err);
    }
    return NULL;
}

static void start(struct member *member, void *(*run)(void *))
{
    if (pthread_create(&member->thread, NULL, run, member) != 0)
        abort();
}

int flat_operate_together(struct flat *flat, uint64_t operations, uint64_t seed,
                          struct byre_error *err)
{
    const unsigned threads = flat->threads;
    struct member members[FLAT_THREADS + 1] = { { .index = 0 } };
    struct team team = { .flat = flat, .running = threads };
    int r = BYRE_OK;

    for (unsigned i = 0; i <= threads; i++)
        members[i] = (struct member){ .team = &team,
                                      .index = i,
                                      .operations = operations,
                                      .seed = seed * 31 + i };
    for (unsigned i = 0; i <= threads; i++)
        start(&members[i], i < threads ? run_member : run_flusher);
    for (unsigned i = 0; i <= threads; i++) {
        pthread_join(members[i].thread, NULL);
        if (members[i].result < 0) {
            r = members[i].result;
            *err = members[i].err;
            error_prefix(err, "thread %u", i);
        }
    }
    return r;
}
