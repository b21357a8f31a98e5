/* SPDX-License-Identifier: MIT */
/*
 * Without this test a barrier could be missing from the write engine, and
 * nobody would know before a power cut.
 *
 *     crash [--states N] [--seed N] [--jobs N] [--workload NAME]
 *           [--point LIMIT:SEED:CUT:NUMBER [--dump FOLDER]]
 *
 * Every workload runs once on recorded stores; then every state that a power
 * cut could have left of them is opened, read and counted.  N states are shared
 * among the workloads: those of a cut that has few are all looked at.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "pool.h"
#include "scratch.h"
#include "strict.h"
#include "verdict.h"

#define DEFAULT_STATES 120000
#define JUDGE_ONE_OF   500
#define MAX_JUDGED     60
#define WRITE_ONE_OF   8
#define MAX_LIMIT      (UINT64_C(1) << 16)

struct settings {
    uint64_t states;
    uint64_t seed;
    unsigned jobs;
    const char *workload; /* NULL: all */
    bool has_point;
    struct crash_point point;
    const char *dump; /* a folder, or NULL */
    size_t chosen[1024];
    size_t chosen_count;
    uint64_t shares;
};

/* ---- One state ---- */

struct visitor {
    const struct runner *runner;
    const struct settings *settings;
    uint64_t length; /* of the log */
    uint64_t visited;
    uint64_t judged; /* by qemu-img */
};

static bool is_dirty(struct byre_store *store)
{
    struct strict_report report;

    strict_check_store(store, &report);
    return report.dirty;
}

/* Before byre_create() has returned there may be an image, or none. */
static bool is_no_image(const struct visitor *visitor, uint64_t cut,
                        struct byre_store *const *stores)
{
    const struct image_options options = { .flags = BYRE_OPEN_WRITE };
    struct image image = { .disk = NULL };

    if (cut >= visitor->runner->created)
        return false;
    if (image_open(visitor->runner->plan->kind, stores, &options, &image,
                   NULL) < 0)
        return true;
    image_close(&image, NULL);
    return false;
}

static bool is_judged(struct visitor *visitor, uint64_t cut)
{
    uint64_t seed = visitor->settings->seed + visitor->visited * 31;

    if (cut != visitor->length &&
        (visitor->judged >= MAX_JUDGED || draw(&seed, JUDGE_ONE_OF) != 0))
        return false;
    visitor->judged++;
    return true;
}

static int visit(void *user, const struct crash_point *point,
                 struct byre_store *const *stores, struct byre_error *err)
{
    struct visitor *visitor = user;
    const struct runner *runner = visitor->runner;
    const uint64_t number = visitor->visited++;
    const bool judged = is_judged(visitor, point->cut);
    const bool dirty = judged && is_dirty(stores[0]);
    unsigned flags = 0;
    int r = BYRE_OK;

    if (is_no_image(visitor, point->cut, stores))
        return BYRE_OK;
    if (point->cut == visitor->length)
        flags |= VERDICT_NO_LEAKS;
    else if (number % WRITE_ONE_OF == 0 && !judged)
        flags |= VERDICT_WRITE;
    if (judged && !dirty)
        r = verdict_qemu(runner, stores, point->cut, err);
    if (r == BYRE_OK)
        r = verdict_state(runner, stores, point->cut, flags, err);
    if (r == BYRE_OK && judged && dirty)
        r = verdict_qemu(runner, stores, point->cut, err);
    return r;
}

/* ---- One workload ---- */

/* The sum over the cuts, if each has at most `limit` states. */
static int count_states(const struct runner *runner, uint64_t limit,
                        uint64_t seed, uint64_t *ret_count,
                        struct byre_error *err)
{
    const uint64_t length = record_log_length(runner->log);
    struct crash_states *states = NULL;
    int r = crash_states_new(runner->log, limit, seed, &states, err);

    *ret_count = 0;
    for (uint64_t cut = runner->mark; r == BYRE_OK && cut <= length; cut++) {
        r = crash_states_seek(states, cut, err);
        *ret_count += r == BYRE_OK ? crash_states_count(states) : 0;
    }
    crash_states_free(states);
    return r;
}

/* The least limit that makes `wanted` states of a log, or nearly. */
static int choose_limit(const struct runner *runner, uint64_t wanted,
                        uint64_t seed, uint64_t *ret_limit,
                        struct byre_error *err)
{
    const uint64_t cuts = record_log_length(runner->log) - runner->mark + 1;
    uint64_t limit = wanted / cuts + 2;
    uint64_t count = 0;
    int r = count_states(runner, limit, seed, &count, err);

    while (r == BYRE_OK && count < wanted && limit < MAX_LIMIT) {
        const uint64_t more = limit * wanted / (count + 1) + 1;

        limit = more < limit * 2 ? more + limit / 8 : limit * 2;
        limit = limit < MAX_LIMIT ? limit : MAX_LIMIT;
        r = count_states(runner, limit, seed, &count, err);
    }
    *ret_limit = limit;
    return r;
}

static unsigned share_of(const struct workload *workload)
{
    return workload->share != 0 ? workload->share : 100;
}

static int replay(const struct settings *settings, const struct runner *runner,
                  struct visitor *visitor, struct crash_report *ret_report,
                  struct byre_error *err)
{
    const uint64_t wanted =
        settings->states * share_of(runner->plan->workload) / settings->shares;
    struct crash_limits limits = { .first_cut = runner->mark };
    int r = choose_limit(runner, wanted, settings->seed, &limits.states_per_cut,
                         err);

    if (r < 0)
        return r;
    return crash_replay(runner->log, &limits, settings->seed, visit, visitor,
                        ret_report, err);
}

/* What was done to the stores, an operation a line, in the folder's "log". */
static int dump_log(const struct settings *settings,
                    const struct runner *runner, struct byre_error *err)
{
    static const char *const kinds[] = { "write", "zero", "resize", "flush",
                                         "discard" };
    char path[SCRATCH_PATH];
    FILE *file;

    snprintf(path, sizeof(path), "%s/log", settings->dump);
    file = fopen(path, "w");
    if (file == NULL)
        return fail_errno(err, errno, "%s", path);
    for (uint64_t i = 0; i < record_log_length(runner->log); i++) {
        const struct record record = record_log_at(runner->log, i);

        fprintf(file, "%llu store %zu %s %#llx+%#llx\n", (unsigned long long)i,
                record.store, kinds[record.kind],
                (unsigned long long)record.offset,
                (unsigned long long)record.length);
    }
    fclose(file);
    return BYRE_OK;
}

static int dump(const struct settings *settings, const struct runner *runner,
                struct byre_store *const *stores, struct byre_error *err)
{
    int r;

    if (settings->dump == NULL)
        return BYRE_OK;
    if (mkdir(settings->dump, 0777) < 0 && errno != EEXIST)
        return fail_errno(err, errno, "%s", settings->dump);
    r = dump_log(settings, runner, err);
    for (size_t i = 0;
         r == BYRE_OK && i < image_kind_stores(runner->plan->kind); i++) {
        char path[SCRATCH_PATH];

        snprintf(path, sizeof(path), "%s/file%zu", settings->dump, i);
        r = scratch_save(path, stores[i], err);
    }
    return r;
}

/* The state that a failure has named, alone. */
static int replay_point(const struct settings *settings,
                        const struct runner *runner, struct visitor *visitor,
                        struct crash_report *ret_report, struct byre_error *err)
{
    const struct crash_point *point = &settings->point;
    struct byre_store *stores[MAX_STORES] = { NULL };
    struct crash_states *states = NULL;
    int r =
        crash_states_new(runner->log, point->limit, point->seed, &states, err);

    if (r == BYRE_OK)
        r = crash_states_seek(states, point->cut, err);
    if (r == BYRE_OK)
        r = crash_states_build(states, point->number, stores, err);
    if (r == BYRE_OK)
        r = dump(settings, runner, stores, err);
    if (r == BYRE_OK)
        r = visit(visitor, point, stores, err);
    for (size_t i = 0; i < MAX_STORES; i++)
        byre_store_unref(stores[i]);
    crash_states_free(states);
    *ret_report = (struct crash_report){ .cuts = 1, .states = 1 };
    return r;
}

static int run_and_replay(const struct settings *settings,
                          const struct beginning *beginning,
                          struct pool_result *ret, struct byre_error *err)
{
    struct runner runner;
    struct visitor visitor = { .runner = &runner, .settings = settings };
    struct crash_report report = { 0 };
    int r = runner_init(&runner, beginning, NULL, err);

    if (r == BYRE_OK)
        r = runner_run(&runner, err);
    if (r == BYRE_OK) {
        visitor.length = record_log_length(runner.log);
        r = settings->has_point
                ? replay_point(settings, &runner, &visitor, &report, err)
                : replay(settings, &runner, &visitor, &report, err);
    }
    ret->count = report.states;
    snprintf(ret->note, sizeof(ret->note),
             "%u steps, %llu cuts (%llu of them exhaustive), %llu states, "
             "%llu of them shown to qemu-img",
             runner.operations, (unsigned long long)report.cuts,
             (unsigned long long)report.exhaustive_cuts,
             (unsigned long long)report.states,
             (unsigned long long)visitor.judged);
    runner_done(&runner);
    return r;
}

static void run_case(void *user, size_t index, struct pool_result *ret)
{
    const struct settings *settings = user;
    struct byre_error err = { .message = "" };
    struct beginning beginning;
    struct plan plan;
    int r;

    workload_plan(workload_at(settings->chosen[index]), &plan);
    r = beginning_init(&beginning, &plan, &err);
    if (r == BYRE_OK)
        r = run_and_replay(settings, &beginning, ret, &err);
    beginning_done(&beginning);
    ret->failed = r < 0;
    snprintf(ret->message, sizeof(ret->message), "%s", err.message);
}

static void name_case(void *user, size_t index, char *ret, size_t size)
{
    const struct settings *settings = user;
    struct plan plan;

    workload_plan(workload_at(settings->chosen[index]), &plan);
    snprintf(ret, size, "%s", plan.name);
}

/* ---- The command line ---- */

static void choose(struct settings *settings)
{
    for (size_t i = 0; workload_at(i) != NULL; i++) {
        struct plan plan;

        workload_plan(workload_at(i), &plan);
        if (settings->workload != NULL &&
            strcmp(settings->workload, plan.name) != 0)
            continue;
        settings->chosen[settings->chosen_count++] = i;
        settings->shares += share_of(workload_at(i));
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: crash [--states N] [--seed N] [--jobs N] "
                    "[--workload NAME] [--point LIMIT:SEED:CUT:NUMBER] "
                    "[--dump FOLDER]\n");
    return 2;
}

static bool read_point(const char *text, struct settings *settings)
{
    unsigned long long limit, seed, cut, number;

    settings->has_point =
        sscanf(text, "%llu:%llu:%llu:%llu", &limit, &seed, &cut, &number) == 4;
    if (settings->has_point)
        settings->point = (struct crash_point){ limit, seed, cut, number };
    return settings->has_point;
}

static bool read_options(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        { "states", required_argument, NULL, 'n' },
        { "seed", required_argument, NULL, 's' },
        { "jobs", required_argument, NULL, 'j' },
        { "workload", required_argument, NULL, 'w' },
        { "point", required_argument, NULL, 'p' },
        { "dump", required_argument, NULL, 'd' },
        { NULL, 0, NULL, 0 }
    };
    bool good = true;
    int c;

    while (good && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'n')
            settings->states = strtoull(optarg, NULL, 0);
        else if (c == 's')
            settings->seed = strtoull(optarg, NULL, 0);
        else if (c == 'j')
            settings->jobs = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 'w')
            settings->workload = optarg;
        else if (c == 'p')
            good = read_point(optarg, settings);
        else if (c == 'd')
            settings->dump = optarg;
        else
            good = false;
    }
    choose(settings);
    return good && optind == argc && settings->chosen_count > 0;
}

int main(int argc, char **argv)
{
    struct settings settings = { .states = DEFAULT_STATES, .seed = 1 };
    struct pool pool = { .run = run_case, .name = name_case };
    uint64_t count = 0;
    size_t failed;
    bool enough;

    if (!read_options(argc, argv, &settings))
        return usage();
    if (system("qemu-img --version >/dev/null 2>&1") != 0) {
        printf("1..0 # SKIP no qemu-img\n");
        return 0;
    }
    pool.cases = settings.chosen_count;
    pool.jobs = settings.jobs;
    pool.user = &settings;
    failed = pool_run(&pool, 1, &count);
    enough = settings.workload != NULL || count >= settings.states / 6 * 5;
    printf("%sok %zu - states in total\n# %llu states, seed %llu\n",
           enough ? "" : "not ", settings.chosen_count + 1,
           (unsigned long long)count, (unsigned long long)settings.seed);
    return failed > 0 || !enough;
}
