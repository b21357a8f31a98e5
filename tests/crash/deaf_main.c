/* SPDX-License-Identifier: MIT */
/*
 * Without this test the crash test could have lost its teeth: here one flush of
 * a workload after the other is left out, and the states that follow must show
 * it.  Some flushes guard against leaks only, or against what another one
 * guards too; so not each has to be caught, but a share of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "deaf_store.h"
#include "pool.h"
#include "verdict.h"

#define STATES_PER_CUT 24

/* And the least percentage of their flushes that has to be caught. */
static const struct {
    struct workload workload;
    unsigned percent;
} deaf_workloads[] = {
    { { .kind = "v3-4k", .script = "reuse" }, 30 },
    { { .kind = "v3-4k", .script = "overwrite" }, 30 },
    { { .kind = "v3-512", .script = "shrink" }, 30 },
    { { .kind = "v3-4k", .script = "compress" }, 30 },
    { { .kind = "v2-4k", .script = "reuse" }, 30 },
    { { .kind = "v1-4k", .script = "overwrite" }, 30 },
    { { .kind = "extended-16k", .script = "zero" }, 30 },
    { { .kind = "data-4k", .script = "mixed" }, 15 },
    { { .kind = "lazy-4k", .script = "mixed" }, 20 },
    { { .kind = "overlay-short-4k", .script = "mixed" }, 30 },
    { { .kind = "snapshot-4k", .script = "overwrite" }, 30 },
    { { .kind = "chain-qcow2-4k", .script = "commit" }, 30 },
    { { .kind = "moves-4k", .script = "rebase" }, 30 },
    { { .kind = "v3-4k", .script = "snap" }, 20 },
    { { .kind = "snapshot-zeroes", .script = "amend-version" }, 20 },
    { { .kind = "v3-512", .script = "amend-width" }, 20 },
    { { .kind = "snapshot-v2-short", .script = "amend-upgrade" }, 20 },
};

#define DEAF_WORKLOADS (sizeof(deaf_workloads) / sizeof(deaf_workloads[0]))

static int visit(void *user, const struct crash_point *point,
                 struct byre_store *const *stores, struct byre_error *err)
{
    const struct runner *runner = user;

    if (point->cut < runner->created)
        return BYRE_OK;
    return verdict_state(runner, stores, point->cut, 0, err);
}

static int make_deaf(struct runner *runner, struct deafness *deafness,
                     struct byre_error *err)
{
    int r = BYRE_OK;

    for (size_t i = 0; r == BYRE_OK && i < MAX_STORES; i++) {
        if (runner->used[i] == NULL)
            continue;
        byre_store_unref(runner->used[i]);
        runner->used[i] = NULL;
        r = deaf_store_new(runner->stores[i], deafness, &runner->used[i], err);
    }
    return r;
}

/* Runs without flush number `omitted`; whether that is seen. */
static int run_deaf(const struct beginning *beginning, uint64_t omitted,
                    bool *ret_caught, bool *ret_done, struct byre_error *err)
{
    const struct crash_limits limits = { .states_per_cut = STATES_PER_CUT };
    struct deafness deafness = { .omitted = omitted };
    struct runner runner;
    int r = runner_init(&runner, beginning, NULL, err);

    if (r == BYRE_OK)
        r = make_deaf(&runner, &deafness, err);
    if (r == BYRE_OK)
        r = runner_run(&runner, err);
    if (r == BYRE_OK) {
        *ret_done = atomic_load(&deafness.flushes) < omitted;
        *ret_caught = crash_replay(runner.log, &limits, omitted, visit, &runner,
                                   NULL, NULL) < 0;
    }
    runner_done(&runner);
    return r;
}

static int count_caught(const struct beginning *beginning, uint64_t *ret_caught,
                        uint64_t *ret_flushes, struct byre_error *err)
{
    bool caught = false, done = false;
    int r = BYRE_OK;

    *ret_caught = *ret_flushes = 0;
    for (uint64_t n = 1; r == BYRE_OK && !done; n++) {
        r = run_deaf(beginning, n, &caught, &done, err);
        *ret_caught += r == BYRE_OK && !done && caught;
        *ret_flushes += r == BYRE_OK && !done;
    }
    if (r == BYRE_OK && caught)
        return fail(err, BYRE_E_CORRUPT, "caught with all of its flushes");
    return r;
}

static void run_case(void *user, size_t index, struct pool_result *ret)
{
    const unsigned percent = deaf_workloads[index].percent;
    struct byre_error err = { .message = "" };
    struct beginning beginning;
    uint64_t caught = 0, flushes = 0;
    struct plan plan;
    int r;

    (void)user;
    workload_plan(&deaf_workloads[index].workload, &plan);
    r = beginning_init(&beginning, &plan, &err);
    if (r == BYRE_OK)
        r = count_caught(&beginning, &caught, &flushes, &err);
    if (r == BYRE_OK && caught * 100 < flushes * percent)
        r = fail(&err, BYRE_E_STATE, "fewer than %u%% are caught", percent);
    beginning_done(&beginning);
    ret->failed = r < 0;
    ret->count = caught;
    snprintf(ret->note, sizeof(ret->note), "%llu of %llu flushes are missed",
             (unsigned long long)caught, (unsigned long long)flushes);
    snprintf(ret->message, sizeof(ret->message), "%s", err.message);
}

static void name_case(void *user, size_t index, char *ret, size_t size)
{
    struct plan plan;

    (void)user;
    workload_plan(&deaf_workloads[index].workload, &plan);
    snprintf(ret, size, "%s", plan.name);
}

int main(void)
{
    const struct pool pool = { .cases = DEAF_WORKLOADS,
                               .run = run_case,
                               .name = name_case };
    uint64_t count = 0;

    if (system("qemu-img --version >/dev/null 2>&1") != 0) {
        printf("1..0 # SKIP no qemu-img\n");
        return 0;
    }
    return pool_run(&pool, 0, &count) > 0;
}
