/* SPDX-License-Identifier: MIT */
/*
 * Without this test a full disk, a bad cable or the end of memory could cost
 * what was flushed, or pass unseen.
 *
 *     faults [--all | --brief] [--seed N] [--jobs N] [--workload NAME]
 *
 * Every workload runs again and again, each time with the next call of a kind
 * failing, once or from there on, until no call is left that could.  --all
 * takes every single one; without it those behind the first are drawn, and
 * fewer with --brief, which is for builds with sanitizers.
 *
 * What is left when the image is closed is judged after each run.  Power cuts
 * on top of the failure are many states a run: --all looks at them for the
 * first calls and a drawn share of the others, and tells on stderr how far it
 * is.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_fault.h"
#include "base/error.h"
#include "pool.h"
#include "verdict.h"

/* Which calls fail: a kind of the store's, or allocations. */
#define ALLOCATIONS   FAULT_KINDS
#define FIRST_CALLS   12 /* that fail one by one, without --all */
#define COSTLY_CALLS  2  /* the same where a run takes long */
#define COSTLY_SHARE  20 /* percent: that is where crash states are few too */
#define CRASH_SAMPLES 3

/* With --all: of this many runs one has crash states, and so many cases share
   the calls of a costly workload. */
#define CRASH_RUNS        8
#define COSTLY_CRASH_RUNS 64
#define COSTLY_SLICES     8

/* Work for one process: some ways to fail in one workload, and every
   `slices`-th call of them. */
struct part {
    size_t workload;
    size_t first_way;
    size_t end_way;
    uint64_t slice;
    uint64_t slices;
};

#define MOST_PARTS 16384

struct settings {
    bool all;
    bool brief;
    uint64_t seed;
    unsigned jobs;
    const char *workload;
    struct part parts[MOST_PARTS];
    size_t part_count;
};

/* One way to fail. */
struct way {
    int kind; /* enum fault_kind, or ALLOCATIONS */
    const char *name;
    uint32_t flags;
    int sys_errno;
    bool may_be_swallowed; /* space that is not given back, and the like */
};

static const struct way ways[] = {
    { FAULT_READ, "read", 0, EIO, false },
    { FAULT_WRITE, "write", 0, EIO, false },
    { FAULT_WRITE, "every write from", FAULT_PERSISTS, ENOSPC, false },
    { FAULT_FLUSH, "flush", 0, EIO, false },
    { FAULT_FLUSH, "every flush from", FAULT_PERSISTS, EIO, false },
    { FAULT_RESIZE, "resize", 0, ENOSPC, false },
    { FAULT_ZERO, "zero", 0, ENOSPC, false },
    { FAULT_DISCARD, "discard", 0, EIO, true },
    { FAULT_GET_SIZE, "size", 0, EIO, false },
    { FAULT_ANY, "every call from", FAULT_PERSISTS, EIO, false },
    { ALLOCATIONS, "allocation", 0, 0, true },
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* One run. */
struct attempt {
    const struct way *way;
    uint64_t nth;
    struct faults faults;
    struct runner runner;
    bool must_refuse; /* a flush has failed: no more writes */
    bool crashes;     /* power cuts are tried on what it leaves */
};

/* ---- Failing ---- */

static void arm(struct attempt *attempt)
{
    const struct fault fault = { .nth = attempt->nth,
                                 .flags = attempt->way->flags,
                                 .sys_errno = attempt->way->sys_errno };

    if (attempt->way->kind == ALLOCATIONS)
        alloc_fault_arm(attempt->nth);
    else
        faults_set(&attempt->faults, (enum fault_kind)attempt->way->kind,
                   &fault);
}

/* How many calls were made to fail; allocations are not to be asked. */
static uint64_t failures(const struct attempt *attempt)
{
    return faults_failed(&attempt->faults);
}

/* The same without discards, where all kinds fail: those may be swallowed. */
static uint64_t grave_failures(const struct attempt *attempt)
{
    const uint64_t all = failures(attempt);
    const uint64_t discards = faults_calls(&attempt->faults, FAULT_DISCARD);

    if (attempt->way->kind != FAULT_ANY || all == 0)
        return all;
    return all > discards ? all - discards : 0;
}

/* The stores work again. */
static bool disarm(struct attempt *attempt)
{
    const bool had_failed = failures(attempt) > 0;

    if (attempt->way->kind == ALLOCATIONS)
        return alloc_fault_disarm();
    attempt->faults.plan[attempt->way->kind].nth = 0;
    return had_failed;
}

/* Looks at the disk, which does not fail. */
static int verify(struct attempt *attempt, struct byre_error *err)
{
    if (attempt->way->kind == ALLOCATIONS)
        alloc_fault_disarm();
    return runner_verify(&attempt->runner, err);
}

/* ---- Steps ---- */

static bool changes(const struct step *step)
{
    return step->kind == STEP_WRITE || step->kind == STEP_COMPRESS ||
           step->kind == STEP_ZERO || step->kind == STEP_UNMAP ||
           step->kind == STEP_RESIZE || step->kind == STEP_PARALLEL ||
           (step->kind == STEP_ACTION && !step->action->flushes_others) ||
           step->kind == STEP_FLUSH;
}

/* What a step has returned must fit what has failed in it. */
static int judge_step(struct attempt *attempt, const struct step *step,
                      uint64_t failed, int result,
                      const struct byre_error *reason, struct byre_error *err)
{
    if (result == BYRE_OK && failed > 0 && !attempt->way->may_be_swallowed)
        return fail(err, BYRE_E_STATE, "no word of the failure");
    if (result == BYRE_OK && attempt->must_refuse && changes(step))
        return fail(err, BYRE_E_STATE, "went on after a failed flush");
    if (result < 0 && failures(attempt) == 0 &&
        attempt->way->kind != ALLOCATIONS)
        return fail(err, result, "failed of its own: %s", reason->message);
    if (result < 0 && reason->message[0] == '\0')
        return fail(err, result, "failed without a reason");
    return BYRE_OK;
}

static int run_step(struct attempt *attempt, const struct step *step,
                    struct byre_error *err)
{
    const uint64_t before = grave_failures(attempt);
    struct byre_error reason = { .message = "" };
    uint64_t failed;
    int result, r;

    result = runner_step(&attempt->runner, step, &reason);
    failed = grave_failures(attempt) - before;
    r = judge_step(attempt, step, failed, result, &reason, err);
    if (step->kind == STEP_REOPEN ||
        (step->action != NULL && step->action->reopens))
        attempt->must_refuse = false;
    else if (failed > 0 && attempt->way->kind == FAULT_FLUSH &&
             (step->action == NULL || !step->action->flushes_others))
        attempt->must_refuse = true;
    if (r == BYRE_OK && result < 0 && attempt->runner.image.disk != NULL)
        r = verify(attempt, err);
    return r;
}

/* The steps, as long as there is an open image. */
static int run_steps(struct attempt *attempt, struct byre_error *err)
{
    const struct step *step = attempt->runner.plan->steps;
    char text[80];
    int r = BYRE_OK;

    for (; r == BYRE_OK && step->kind != STEP_END &&
           attempt->runner.image.disk != NULL;
         step++) {
        r = run_step(attempt, step, err);
        if (r < 0) {
            step_describe(step, text, sizeof(text));
            error_prefix(err, "%s", text);
        }
    }
    return r;
}

/* Success means durable: what fails while closing is told too. */
static int close_image(struct attempt *attempt, struct byre_error *err)
{
    const uint64_t before = grave_failures(attempt);
    int r;

    if (attempt->runner.image.disk == NULL)
        return BYRE_OK;
    r = runner_close(&attempt->runner, NULL);
    if (r == BYRE_OK && grave_failures(attempt) > before &&
        !attempt->way->may_be_swallowed)
        return fail(err, BYRE_E_STATE, "close: no word of the failure");
    if (r == BYRE_OK && attempt->must_refuse)
        return fail(err, BYRE_E_STATE, "close: success after a failed flush");
    return BYRE_OK;
}

/* ---- What is left ---- */

static int visit(void *user, const struct crash_point *point,
                 struct byre_store *const *stores, struct byre_error *err)
{
    const struct attempt *attempt = user;

    return verdict_state(&attempt->runner, stores, point->cut, 0, err);
}

static int look_at_crashes(struct attempt *attempt, struct byre_error *err)
{
    const uint64_t length = record_log_length(attempt->runner.log);
    const struct crash_limits limits = { .states_per_cut = CRASH_SAMPLES,
                                         .first_cut = length,
                                         .last_cut = length };

    return crash_replay(attempt->runner.log, &limits, attempt->nth, visit,
                        attempt, NULL, err);
}

/* As it is, and as a power cut behind the failure may leave it. */
static int look_at_rest(struct attempt *attempt, struct byre_error *err)
{
    const struct runner *runner = &attempt->runner;
    int r = BYRE_OK;

    if (attempt->crashes)
        r = look_at_crashes(attempt, err);
    if (r < 0)
        return r;
    r = verdict_state(runner, runner->stores, VERDICT_LAST_CUT, 0, err);
    if (r < 0)
        error_prefix(err, "after closing");
    return r;
}

/* A create that has failed may leave nothing, or all of an image. */
static int look_at_unborn(struct attempt *attempt, struct byre_error *err)
{
    const struct image_options options = { .flags = BYRE_OPEN_WRITE };
    struct image image = { .disk = NULL };

    if (image_open(attempt->runner.plan->kind, attempt->runner.stores, &options,
                   &image, NULL) < 0)
        return BYRE_OK;
    image_close(&image, NULL);
    return verdict_state(&attempt->runner, attempt->runner.stores,
                         VERDICT_LAST_CUT, 0, err);
}

/* ---- One run ---- */

static int run_and_look(struct attempt *attempt, bool *ret_failed,
                        struct byre_error *err)
{
    struct runner *runner = &attempt->runner;
    int r, r_begin;

    arm(attempt);
    r_begin = runner_begin(runner, err);
    r = r_begin < 0 ? BYRE_OK : run_steps(attempt, err);
    if (r == BYRE_OK)
        r = close_image(attempt, err);
    *ret_failed = disarm(attempt);
    if (r < 0)
        return r;
    if (r_begin < 0 && !*ret_failed)
        return r_begin;
    if (r_begin == BYRE_OK && *ret_failed && runner->created == 0 &&
        runner->plan->kind->recipe == NULL)
        return fail(err, BYRE_E_STATE, "create: nothing was written");
    return r_begin < 0 && runner->plan->kind->recipe == NULL
               ? look_at_unborn(attempt, err)
               : look_at_rest(attempt, err);
}

static bool is_costly(const struct workload *workload)
{
    return workload->share != 0 && workload->share <= COSTLY_SHARE;
}

/* Whether power cuts come on top of a run. */
static bool has_crashes(const struct settings *settings,
                        const struct workload *workload, uint64_t nth)
{
    const bool costly = is_costly(workload);
    uint64_t seed = settings->seed * 31 + nth;

    return !settings->all || nth <= (costly ? COSTLY_CALLS : FIRST_CALLS) ||
           draw(&seed, costly ? COSTLY_CRASH_RUNS : CRASH_RUNS) == 0;
}

static int run_once(const struct settings *settings,
                    const struct beginning *beginning, const struct way *way,
                    uint64_t nth, bool *ret_failed, struct byre_error *err)
{
    struct attempt attempt = {
        .way = way,
        .nth = nth,
        .crashes = has_crashes(settings, beginning->plan->workload, nth),
    };
    int r;

    faults_init(&attempt.faults);
    r = runner_init(&attempt.runner, beginning, &attempt.faults, err);
    if (r == BYRE_OK)
        r = run_and_look(&attempt, ret_failed, err);
    disarm(&attempt);
    runner_done(&attempt.runner);
    if (r < 0)
        error_prefix(err, "%s %llu", way->name, (unsigned long long)nth);
    return r;
}

/* ---- One part of a workload ---- */

/* The call that fails after the n-th: further and further on. */
static uint64_t next_call(const struct settings *settings,
                          const struct part *part,
                          const struct workload *workload, uint64_t nth,
                          uint64_t *seed)
{
    const bool few = settings->brief || is_costly(workload);

    if (settings->all)
        return nth + part->slices;
    if (nth < (few ? COSTLY_CALLS : FIRST_CALLS))
        return nth + 1;
    return nth + 1 + draw(seed, few ? nth * 2 : nth / 2);
}

static int run_way(const struct settings *settings, const struct part *part,
                   const struct beginning *beginning, const struct way *way,
                   struct pool_result *ret, struct byre_error *err)
{
    const struct workload *workload = beginning->plan->workload;
    uint64_t seed = settings->seed;
    bool failed = true;
    int r = BYRE_OK;

    for (uint64_t nth = 1 + part->slice; r == BYRE_OK && failed;
         nth = next_call(settings, part, workload, nth, &seed)) {
        r = run_once(settings, beginning, way, nth, &failed, err);
        ret->count++;
    }
    return r;
}

static void name_case(void *user, size_t index, char *ret, size_t size)
{
    const struct settings *settings = user;
    const struct part *part = &settings->parts[index];
    struct plan plan;

    workload_plan(workload_at(part->workload), &plan);
    if (!settings->all)
        snprintf(ret, size, "%s", plan.name);
    else
        snprintf(ret, size, "%s, %s, %llu of %llu", plan.name,
                 ways[part->first_way].name,
                 (unsigned long long)part->slice + 1,
                 (unsigned long long)part->slices);
}

static void tell_progress(const struct settings *settings, size_t index,
                          const struct pool_result *result)
{
    char name[200];

    name_case((void *)settings, index, name, sizeof(name));
    fprintf(stderr, "%zu/%zu %s: %s%s%s\n", index + 1, settings->part_count,
            name, result->note, result->failed ? ", failed: " : "",
            result->failed ? result->message : "");
}

static void run_case(void *user, size_t index, struct pool_result *ret)
{
    const struct settings *settings = user;
    const struct part *part = &settings->parts[index];
    struct byre_error err = { .message = "" };
    struct beginning beginning;
    struct plan plan;
    int r;

    workload_plan(workload_at(part->workload), &plan);
    r = beginning_init(&beginning, &plan, &err);
    for (size_t i = part->first_way; r == BYRE_OK && i < part->end_way; i++)
        r = run_way(settings, part, &beginning, &ways[i], ret, &err);
    beginning_done(&beginning);
    ret->failed = r < 0;
    snprintf(ret->note, sizeof(ret->note), "%llu runs",
             (unsigned long long)ret->count);
    snprintf(ret->message, sizeof(ret->message), "%s", err.message);
    if (settings->all)
        tell_progress(settings, index, ret);
}

/* ---- The command line ---- */

static void add_part(struct settings *settings, struct part part)
{
    if (settings->part_count == MOST_PARTS)
        abort();
    settings->parts[settings->part_count++] = part;
}

/* With --all, a part for each way, and several for those that take long. */
static void choose_parts(struct settings *settings, size_t workload)
{
    const bool costly = is_costly(workload_at(workload));
    const uint64_t slices = settings->all && costly ? COSTLY_SLICES : 1;
    const size_t ways_each = settings->all ? 1 : WAYS;

    for (size_t way = 0; way < WAYS; way += ways_each)
        for (uint64_t slice = 0; slice < slices; slice++)
            add_part(settings, (struct part){ .workload = workload,
                                              .first_way = way,
                                              .end_way = way + ways_each,
                                              .slice = slice,
                                              .slices = slices });
}

static void choose(struct settings *settings)
{
    for (size_t i = 0; workload_at(i) != NULL; i++) {
        struct plan plan;

        workload_plan(workload_at(i), &plan);
        if (settings->workload == NULL ||
            strcmp(settings->workload, plan.name) == 0)
            choose_parts(settings, i);
    }
}

static bool read_options(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        { "all", no_argument, NULL, 'a' },
        { "brief", no_argument, NULL, 'b' },
        { "seed", required_argument, NULL, 's' },
        { "jobs", required_argument, NULL, 'j' },
        { "workload", required_argument, NULL, 'w' },
        { NULL, 0, NULL, 0 }
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'a')
            settings->all = true;
        else if (c == 'b')
            settings->brief = true;
        else if (c == 's')
            settings->seed = strtoull(optarg, NULL, 0);
        else if (c == 'j')
            settings->jobs = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 'w')
            settings->workload = optarg;
        else
            return false;
    }
    choose(settings);
    return optind == argc && settings->part_count > 0;
}

int main(int argc, char **argv)
{
    static struct settings settings = { .seed = 1 };
    struct pool pool = { .run = run_case, .name = name_case };
    uint64_t count = 0;
    size_t failed;

    /* Disks come and go with each run: their pages stay. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (!read_options(argc, argv, &settings)) {
        fprintf(stderr, "usage: faults [--all | --brief] [--seed N] "
                        "[--jobs N] [--workload NAME]\n");
        return 2;
    }
    if (system("qemu-img --version >/dev/null 2>&1") != 0) {
        printf("1..0 # SKIP no qemu-img\n");
        return 0;
    }
    pool.cases = settings.part_count;
    pool.jobs = settings.jobs;
    pool.user = &settings;
    failed = pool_run(&pool, 0, &count);
    printf("# %llu runs, seed %llu\n", (unsigned long long)count,
           (unsigned long long)settings.seed);
    return failed > 0;
}
