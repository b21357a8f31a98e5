/* SPDX-License-Identifier: MIT */
/*
 * Without this test a mix of operations that nobody thought of could read wrong
 * or miscount.
 *
 *     model [--ops N] [--seed N] [--jobs N] [--threads N] [--kind NAME]
 *
 * Each kind of image is worked on in rounds, every one with a new image and
 * another seed: by one thread, which looks at every byte on the way and at the
 * end, and by several at once.  N operations are shared among the kinds.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "flat.h"
#include "pool.h"

#define DEFAULT_OPS    400000
#define OPS_OF_A_ROUND 400

struct settings {
    uint64_t ops;
    uint64_t seed;
    unsigned jobs;
    unsigned threads; /* of the second mode */
    const char *kind; /* NULL: all */
    const struct image_kind *chosen[512];
    size_t chosen_count;
};

static int operate(struct flat *flat, unsigned threads, uint64_t seed,
                   struct byre_error *err)
{
    int r = BYRE_OK;

    if (threads > 1)
        return flat_operate_together(flat, OPS_OF_A_ROUND / threads, seed, err);
    for (unsigned i = 0; r == BYRE_OK && i < OPS_OF_A_ROUND; i++) {
        r = flat_operate(flat, &seed, err);
        if (r < 0)
            error_prefix(err, "operation %u", i);
    }
    return r;
}

static int run_round(const struct beginning *beginning, unsigned threads,
                     uint64_t seed, struct byre_error *err)
{
    struct flat flat;
    int r = flat_init(&flat, beginning, seed, threads, err);

    if (r == BYRE_OK)
        r = operate(&flat, threads, seed, err);
    if (r == BYRE_OK)
        r = flat_finish(&flat, err);
    if (r < 0)
        error_prefix(err, "--kind %s --seed %llu --ops 1 (%u threads)",
                     beginning->plan->kind->name, (unsigned long long)seed,
                     threads);
    flat_done(&flat);
    return r;
}

/* Cases come in pairs: a kind with one thread, and with several. */
static unsigned threads_of(const struct settings *settings, size_t index)
{
    return index % 2 == 0 ? 1 : settings->threads;
}

static void run_case(void *user, size_t index, struct pool_result *ret)
{
    const struct settings *settings = user;
    const uint64_t wanted = settings->ops / (2 * settings->chosen_count);
    const struct workload workload = { .kind =
                                           settings->chosen[index / 2]->name,
                                       .script = "fill" };
    struct byre_error err = { .message = "" };
    struct beginning beginning;
    struct plan plan;
    uint64_t seed = settings->seed;
    int r;

    workload_plan(&workload, &plan);
    r = beginning_init(&beginning, &plan, &err);
    do {
        if (r == BYRE_OK)
            r = run_round(&beginning, threads_of(settings, index), seed++,
                          &err);
        ret->count += OPS_OF_A_ROUND;
    } while (r == BYRE_OK && ret->count < wanted);
    beginning_done(&beginning);
    ret->failed = r < 0;
    snprintf(ret->message, sizeof(ret->message), "%s", err.message);
}

static void name_case(void *user, size_t index, char *ret, size_t size)
{
    const struct settings *settings = user;

    snprintf(ret, size, "%s, threads: %u", settings->chosen[index / 2]->name,
             threads_of(settings, index));
}

static bool read_options(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        { "ops", required_argument, NULL, 'n' },
        { "seed", required_argument, NULL, 's' },
        { "jobs", required_argument, NULL, 'j' },
        { "threads", required_argument, NULL, 't' },
        { "kind", required_argument, NULL, 'k' },
        { NULL, 0, NULL, 0 }
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'n')
            settings->ops = strtoull(optarg, NULL, 0);
        else if (c == 's')
            settings->seed = strtoull(optarg, NULL, 0);
        else if (c == 'j')
            settings->jobs = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 't')
            settings->threads = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 'k')
            settings->kind = optarg;
        else
            return false;
    }
    for (size_t i = 0; i < image_kind_count; i++)
        if (settings->kind == NULL ||
            strcmp(settings->kind, image_kinds[i].name) == 0)
            settings->chosen[settings->chosen_count++] = &image_kinds[i];
    return optind == argc && settings->chosen_count > 0 &&
           settings->threads > 0 && settings->threads <= FLAT_THREADS;
}

int main(int argc, char **argv)
{
    struct settings settings = { .ops = DEFAULT_OPS,
                                 .seed = 1,
                                 .threads = FLAT_THREADS };
    struct pool pool = { .run = run_case, .name = name_case };
    uint64_t count = 0;
    size_t failed;

    if (!read_options(argc, argv, &settings)) {
        fprintf(stderr, "usage: model [--ops N] [--seed N] [--jobs N] "
                        "[--threads 1..4] [--kind NAME]\n");
        return 2;
    }
    if (system("qemu-img --version >/dev/null 2>&1") != 0) {
        printf("1..0 # SKIP no qemu-img\n");
        return 0;
    }
    pool.cases = 2 * settings.chosen_count;
    pool.jobs = settings.jobs;
    pool.user = &settings;
    failed = pool_run(&pool, 0, &count);
    printf("# %llu operations, seed %llu\n", (unsigned long long)count,
           (unsigned long long)settings.seed);
    return failed > 0;
}
