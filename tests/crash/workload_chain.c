/* SPDX-License-Identifier: MIT */
/*
 * Images above others: commit into the base, and rebase onto another one.  The
 * disk reads the same in every state, and what was interrupted can be done
 * again.
 */
#include "base/error.h"
#include "runner.h"
#include "script.h"

static int run_job(struct byre_job *job, struct byre_error *err)
{
    const int r = byre_job_run(job, err);

    byre_job_free(job);
    return r;
}

/* ---- Commit ---- */

static int commit(struct image *image, uint32_t flags, struct byre_error *err)
{
    struct byre_commit_options opts = BYRE_COMMIT_OPTIONS_INIT;
    struct byre_job *job;
    int r;

    opts.flags = flags;
    opts.workers = 1; /* the same log each time */
    r = byre_commit(image->disk, &opts, &job, err);
    return r < 0 ? r : run_job(job, err);
}

static int commit_step(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    return commit(&runner->image, step->offset != 0 ? BYRE_COMMIT_KEEP : 0,
                  err);
}

static int commit_again(struct image *image, struct byre_error *err)
{
    return commit(image, 0, err);
}

static const struct action commit_action = { .name = "commit",
                                             .run = commit_step,
                                             .again = commit_again,
                                             .flushes_others = true };

/* ---- Rebase ---- */

enum { TO_BASE, TO_SECOND, TO_NOTHING };

static int rebase(struct image *image, uint64_t target, struct byre_error *err)
{
    struct byre_rebase_options opts = BYRE_REBASE_OPTIONS_INIT;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_job *job;
    int r;

    if (target != TO_NOTHING) {
        open.backing = target == TO_BASE ? image->base : image->second;
        opts.backing_name =
            target == TO_BASE ? IMAGE_BASE_NAME : IMAGE_SECOND_NAME;
        opts.backing_format = "raw";
        opts.backing_open = &open;
    }
    opts.workers = 1;
    r = byre_rebase(image->disk, &opts, &job, err);
    return r < 0 ? r : run_job(job, err);
}

static int rebase_step(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    return rebase(&runner->image, step->offset / runner->plan->kind->unit_bytes,
                  err);
}

static int rebase_again(struct image *image, struct byre_error *err)
{
    const int r = rebase(image, TO_SECOND, err);

    return r < 0 ? r : rebase(image, TO_BASE, err);
}

static const struct action rebase_action = { .name = "rebase",
                                             .run = rebase_step,
                                             .again = rebase_again,
                                             .flushes_others = false };

/* Not in units: a number. */
#define STEP_DO(action, number)                                                \
    {                                                                          \
        STEP_ACTION, 0, number, 0, action                                      \
    }

/* ---- Scripts ---- */

static const struct step commit_steps[] = { W(0, 9),
                                            WN(20, 5),
                                            ZC(6, 2),
                                            WC(9, 2),
                                            C(12, 1),
                                            FLUSH,
                                            STEP_DO(&commit_action, 0),
                                            W(3, 2),
                                            W(40, 9),
                                            FLUSH,
                                            STEP_DO(&commit_action, 0),
                                            END };

static const struct step keep_steps[] = {
    W(2, 20), FLUSH, STEP_DO(&commit_action, 1), U(4, 9),
    W(50, 4), FLUSH, STEP_DO(&commit_action, 0), REOPEN,
    W(1, 30), END
};

static const struct step rebase_steps[] = { W(3, 5),
                                            W(30, 4),
                                            FLUSH,
                                            STEP_DO(&rebase_action, TO_SECOND),
                                            W(10, 3),
                                            FLUSH,
                                            STEP_DO(&rebase_action, TO_BASE),
                                            W(33, 2),
                                            END };

static const struct step flatten_steps[] = {
    W(3, 5),  FLUSH, STEP_DO(&rebase_action, TO_NOTHING),
    W(9, 3),  FLUSH, STEP_DO(&rebase_action, TO_SECOND),
    W(20, 9), END
};

static const struct script chain_scripts[] = {
    { "commit", commit_steps, 0 },
    { "commit-keep", keep_steps, 0 },
    { "rebase", rebase_steps, 0 },
    { "flatten", flatten_steps, 0 },
};

static const struct workload chain_workloads[] = {
    { "chain-4k", "commit", 0, 0 },
    { "chain-long-4k", "commit", 0, 0 },
    { "chain-v1", "commit-keep", 0, 0 },
    { "chain-v2-4k", "commit-keep", 0, 0 },
    { "chain-qcow2-4k", "commit", 0, 0 },
    { "chain-qcow2-4k", "commit-keep", 0, 0 },
    { "chain-qcow2-512", "commit-keep", 4096, 0 },
    { "chain-wide", "commit-keep", 0, 0 },
    { "chain-extended", "commit", 0, 0 },
    { "chain-luks", "commit-keep", 0, 15 },
    { "chain-data", "commit-keep", 0, 0 },
    { "moves-4k", "rebase", 0, 0 },
    { "moves-4k", "flatten", 0, 0 },
    { "moves-512", "rebase", 4096, 0 },
    { "moves-v1", "rebase", 0, 0 },
    { "moves-v2-4k", "flatten", 0, 0 },
    { "moves-extended", "rebase", 0, 0 },
};

const struct workload_set chain_set = {
    chain_scripts,
    sizeof(chain_scripts) / sizeof(chain_scripts[0]),
    chain_workloads,
    sizeof(chain_workloads) / sizeof(chain_workloads[0]),
};
