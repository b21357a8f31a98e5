/* SPDX-License-Identifier: MIT */
/* Compacting in place: holes of all makes, tables at the end, and what is
   written on afterwards. */
#include "base/error.h"
#include "runner.h"
#include "script.h"

static int compact(struct runner *runner, bool cancel, struct byre_error *err)
{
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre_job *job = NULL;
    int r = byre_compact(runner->image.disk, &job, err);

    if (r < 0)
        return r;
    if (cancel)
        byre_job_cancel(job);
    r = byre_job_run(job, err);
    if (r == BYRE_OK)
        r = byre_compact_get_result(job, &result, err);
    if (r == BYRE_OK && result.after_bytes > result.before_bytes)
        r = fail(err, BYRE_E_CORRUPT, "compacting has made the file larger");
    if (cancel && r == BYRE_E_CANCELED)
        r = BYRE_OK;
    byre_job_free(job);
    return r;
}

static int run_compact(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    (void)step;
    return compact(runner, false, err);
}

static int run_canceled(struct runner *runner, const struct step *step,
                        struct byre_error *err)
{
    (void)step;
    return compact(runner, true, err);
}

static const struct action compact_action = { .name = "compact",
                                              .run = run_compact };
static const struct action canceled_action = { .name = "canceled compact",
                                               .run = run_canceled };

#define COMPACT  DO(&compact_action, 0, 0)
#define CANCELED DO(&canceled_action, 0, 0)

static const struct step holes_steps[] = { W(20, 44), W(0, 20), FLUSH,
                                           D(10, 30), REOPEN,   MARK,
                                           COMPACT,   W(12, 9), FLUSH,
                                           DC(1, 2),  CANCELED, W(0, 2),
                                           COMPACT,   W(30, 4), END };

static const struct step zeroed_steps[] = {
    W(0, 64), FLUSH,   Z(3, 20), W(9, 1), Z(40, 24), REOPEN, MARK,
    COMPACT,  W(0, 5), Z(0, 3),  REOPEN,  COMPACT,   END
};

static const struct step streams_steps[] = {
    WC(9, 1), C(0, 4), REOPEN,  C(4, 3), FLUSH,    UC(1, 2), WC(5, 1), DC(9, 1),
    REOPEN,   MARK,    COMPACT, C(7, 2), WC(0, 1), REOPEN,   COMPACT,  END
};

/* The same where streams are from the start. */
static const struct step restreams_steps[] = { C(10, 3), REOPEN,  WC(1, 1),
                                               DC(3, 1), REOPEN,  MARK,
                                               COMPACT,  C(3, 1), WC(10, 1),
                                               REOPEN,   COMPACT, END };

/* Tables at the end that have grown, over data that goes. */
static const struct step tables_steps[] = {
    WC(0, 60), FLUSH,   SIZEC(4500), WC(4400, 3), W(0, 2),   FLUSH,
    DC(5, 50), REOPEN,  MARK,        COMPACT,     WC(20, 3), SIZEC(70),
    REOPEN,    COMPACT, W(3, 3),     END
};

/* Nearly all goes. */
static const struct step emptied_steps[] = { W(0, 64), FLUSH,    D(0, 60),
                                             REOPEN,   MARK,     COMPACT,
                                             W(0, 30), D(0, 64), FLUSH,
                                             COMPACT,  W(7, 2),  END };

static const struct script compact_scripts[] = {
    { "compact-holes", holes_steps, 0 },
    { "compact-zeroed", zeroed_steps, 0 },
    { "compact-streams", streams_steps, 0 },
    { "compact-restreams", restreams_steps, 0 },
    { "compact-tables", tables_steps, 0 },
    { "compact-emptied", emptied_steps, 0 },
};

static const struct workload compact_workloads[] = {
    { "v3-512", "compact-holes", 4096, 0 },
    { "v3-512", "compact-tables", 0, 50 },
    { "v3-512", "compact-emptied", 512, 0 },
    { "v3-512", "compact-streams", 0, 0 },
    { "v3-4k", "compact-holes", 0, 0 },
    { "v3-4k", "compact-zeroed", 0, 0 },
    { "v3-4k", "compact-streams", 512, 0 },
    { "v3-64k", "compact-holes", 0, 50 },
    { "v3-64k", "compact-streams", 0, 50 },
    { "v3-2m", "compact-zeroed", 0, 3 },
    { "v2-512", "compact-holes", 0, 0 },
    { "v2-4k", "compact-streams", 0, 0 },
    { "extended-16k", "compact-holes", 0, 0 },
    { "extended-16k", "compact-zeroed", 0, 0 },
    { "extended-16k", "compact-streams", 0, 0 },
    { "extended-16k-base", "compact-zeroed", 0, 0 },
    { "extended-16k-prealloc", "compact-holes", 0, 0 },
    { "width-1", "compact-streams", 0, 0 },
    { "width-2", "compact-holes", 0, 0 },
    { "width-64", "compact-holes", 512, 0 },
    { "width-64", "compact-emptied", 0, 0 },
    { "lazy-4k", "compact-holes", 0, 0 },
    { "zstd-64k", "compact-streams", 0, 50 },
    { "data-4k", "compact-holes", 0, 0 },
    { "data-raw-4k", "compact-zeroed", 0, 0 },
    { "aes-4k", "compact-holes", 0, 0 },
    { "luks-4k", "compact-holes", 0, 15 },
    { "luks-64k", "compact-zeroed", 0, 15 },
    { "overlay-short-4k", "compact-zeroed", 0, 0 },
    { "overlay-long-512", "compact-holes", 0, 0 },
    { "overlay-v2-4k", "compact-zeroed", 0, 0 },
    { "prealloc-4k", "compact-holes", 0, 0 },
    { "prealloc-v2-4k", "compact-zeroed", 0, 0 },
    { "snapshot-512", "compact-holes", 512, 0 },
    { "snapshot-512", "compact-emptied", 0, 0 },
    { "snapshot-4k", "compact-zeroed", 0, 0 },
    { "snapshot-v2-4k", "compact-holes", 0, 0 },
    { "snapshot-extended", "compact-holes", 0, 0 },
    { "snapshot-width-2", "compact-zeroed", 0, 0 },
    { "snapshot-lazy", "compact-emptied", 0, 0 },
    { "compressed-4k", "compact-restreams", 0, 0 },
    { "bitmap-kept", "compact-holes", 0, 0 },
    { "bitmap-kept", "compact-emptied", 512, 0 },
    { "bitmap-lazy", "compact-zeroed", 0, 0 },
};

const struct workload_set compact_set = {
    compact_scripts,
    sizeof(compact_scripts) / sizeof(compact_scripts[0]),
    compact_workloads,
    sizeof(compact_workloads) / sizeof(compact_workloads[0]),
};
