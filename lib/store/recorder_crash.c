/* SPDX-License-Identifier: MIT */
/*
 * The states of all stores of a log at one cut: what is pending of each store,
 * combined in every way, or samples drawn over all of them at once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "store/recorder.h"
#include "store/recorder_alternatives.h"
#include "store/recorder_pending.h"
#include "store/recorder_sample.h"

struct crash_states {
    struct record_log *log;
    uint64_t limit;
    uint64_t seed;
    uint64_t cut;
    uint64_t count;
    bool exhaustive;
    size_t store_count;
    struct pending *stores;
};

/* ---- States at one cut ---- */

int crash_states_new(struct record_log *log, uint64_t limit, uint64_t seed,
                     struct crash_states **ret_states, struct byre_error *err)
{
    struct crash_states *states = NULL;
    struct pending *stores = NULL;
    int r;

    if (limit == 0 || limit > UINT32_MAX)
        return fail(err, BYRE_E_INVALID,
                    "a limit of %llu states, which is not from 1 to %llu",
                    (unsigned long long)limit, (unsigned long long)UINT32_MAX);

    states = calloc(1, sizeof(*states));
    stores = calloc(log->store_count + 1, sizeof(*stores));
    if (states == NULL || stores == NULL) {
        free(states);
        free(stores);
        return fail_nomem(err, "crash states", sizeof(*states));
    }
    *states = (struct crash_states){ .log = log,
                                     .limit = limit,
                                     .seed = seed,
                                     .store_count = log->store_count,
                                     .stores = stores };
    for (size_t i = 0; i < states->store_count; i++)
        pending_init(&stores[i], log->stores[i]);

    r = crash_states_seek(states, 0, err);
    if (r < 0) {
        crash_states_free(states);
        return r;
    }
    *ret_states = states;
    return BYRE_OK;
}

void crash_states_free(struct crash_states *states)
{
    if (states == NULL)
        return;
    for (size_t i = 0; i < states->store_count; i++)
        pending_done(&states->stores[i]);
    free(states->stores);
    free(states);
}

/* The states of all stores together, if they are listed and not too many. */
static void count_all(struct crash_states *states)
{
    uint64_t count = 1;

    for (size_t i = 0; i < states->store_count; i++) {
        const uint64_t more = states->stores[i].state_count;

        count = more == 0 ? states->limit + 1 : count * more;
        if (count > states->limit)
            break;
    }
    states->exhaustive = count <= states->limit;
    states->count = states->exhaustive ? count : states->limit;
}

int crash_states_seek(struct crash_states *states, uint64_t cut,
                      struct byre_error *err)
{
    int r = BYRE_OK;

    pthread_rwlock_rdlock(&states->log->lock);
    if (cut > states->log->count)
        r = fail(err, BYRE_E_INVALID, "a cut at %llu in a log of %llu",
                 (unsigned long long)cut,
                 (unsigned long long)states->log->count);
    for (size_t i = 0; r == BYRE_OK && i < states->store_count; i++)
        r = pending_seek(&states->stores[i], cut, states->limit, err);
    pthread_rwlock_unlock(&states->log->lock);
    if (r < 0)
        return r;

    states->cut = cut;
    count_all(states);
    return BYRE_OK;
}

uint64_t crash_states_count(const struct crash_states *states)
{
    return states->count;
}

bool crash_states_exhaustive(const struct crash_states *states)
{
    return states->exhaustive;
}

/* The first operation that is pending of some store. */
static uint64_t first_pending(const struct crash_states *states)
{
    uint64_t first = states->cut;

    for (size_t i = 0; i < states->store_count; i++)
        if (states->stores[i].part_count + states->stores[i].length_count > 0)
            first = min_u64(first, states->stores[i].durable_operations);
    return first;
}

/* Builds one store; *number loses the digits that are this store's. */
static int build_store(const struct crash_states *states,
                       const struct pending *pending,
                       const struct sample *sample, uint64_t *number,
                       struct byre_store **ret_store, struct byre_error *err)
{
    struct sparse_bytes bytes;
    int r;

    if (states->exhaustive) {
        r = pending_build(pending, *number % pending->state_count, &bytes, err);
        *number /= pending->state_count;
    } else {
        r = sample_build(sample, pending, &bytes, err);
    }
    if (r < 0)
        return r;

    r = sparse_store_new(&bytes, ret_store, err);
    sparse_done(&bytes);
    return r;
}

int crash_states_build(struct crash_states *states, uint64_t number,
                       struct byre_store **ret_stores, struct byre_error *err)
{
    const struct sample sample =
        sample_draw(states->seed, number, first_pending(states), states->cut);

    if (number >= states->count)
        return fail(err, BYRE_E_INVALID, "state %llu of %llu",
                    (unsigned long long)number,
                    (unsigned long long)states->count);

    for (size_t i = 0; i < states->store_count; i++) {
        const int r = build_store(states, &states->stores[i], &sample, &number,
                                  &ret_stores[i], err);

        if (r < 0) {
            while (i > 0)
                byre_store_unref(ret_stores[--i]);
            return r;
        }
    }
    return BYRE_OK;
}

/* ---- All states of a log ---- */

struct replay {
    struct crash_states *states;
    struct byre_store **stores;
    crash_visit *visit;
    void *user;
    struct crash_report report;
};

/* Builds one state and shows it; a failure names the point. */
static int visit_state(struct replay *replay, const struct crash_point *point,
                       struct byre_error *err)
{
    int r;

    replay->report.last = *point;
    replay->report.states++;
    r = crash_states_build(replay->states, point->number, replay->stores, err);
    if (r < 0)
        return r;

    r = replay->visit(replay->user, point, replay->stores, err);
    for (size_t i = 0; i < replay->states->store_count; i++)
        byre_store_unref(replay->stores[i]);
    if (r < 0)
        error_prefix(
            err, "cut %llu, state %llu (limit %llu, seed %llu)",
            (unsigned long long)point->cut, (unsigned long long)point->number,
            (unsigned long long)point->limit, (unsigned long long)point->seed);
    return r;
}

static int visit_cut(struct replay *replay, uint64_t cut,
                     struct byre_error *err)
{
    struct crash_states *states = replay->states;
    struct crash_point point = { states->limit, states->seed, cut, 0 };
    int r;

    r = crash_states_seek(states, cut, err);
    if (r < 0)
        return r;

    replay->report.cuts++;
    replay->report.exhaustive_cuts += states->exhaustive;
    for (; r == BYRE_OK && point.number < states->count; point.number++)
        r = visit_state(replay, &point, err);
    return r;
}

int crash_replay(struct record_log *log, const struct crash_limits *limits,
                 uint64_t seed, crash_visit *visit, void *user,
                 struct crash_report *ret_report, struct byre_error *err)
{
    const uint64_t limit = limits->states_per_cut != 0 ? limits->states_per_cut
                                                       : CRASH_DEFAULT_STATES;
    const uint64_t last =
        limits->last_cut != 0 ? limits->last_cut : record_log_length(log);
    struct replay replay = { .visit = visit, .user = user };
    struct byre_error scratch;
    int r;

    err = err != NULL ? err : &scratch;
    r = crash_states_new(log, limit, seed, &replay.states, err);
    if (r == BYRE_OK) {
        replay.stores = calloc(record_log_stores(log) + 1, sizeof(void *));
        if (replay.stores == NULL)
            r = fail_nomem(err, "crash states", sizeof(void *));
    }
    for (uint64_t cut = limits->first_cut; r == BYRE_OK && cut <= last; cut++)
        r = visit_cut(&replay, cut, err);

    free(replay.stores);
    crash_states_free(replay.states);
    if (ret_report != NULL)
        *ret_report = replay.report;
    return r;
}
