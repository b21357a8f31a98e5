/* SPDX-License-Identifier: MIT */
/*
 * Check: the engine looks, and mends if asked; then it looks once more, and
 * that second look decides.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/sized.h"
#include "image/image.h"
#include "job/job.h"

#define DEFAULT_MEMORY_BYTES (UINT64_C(192) << 20)
#define KNOWN_FLAGS          (BYRE_CHECK_REPAIR_LEAKS | BYRE_CHECK_REPAIR_ALL)

struct check_job {
    struct byre_job job; /* first, so that the two convert */
    struct byre *image;
    struct byre_check_options opts;
    bool is_repair; /* this look mends */
    bool finished;
    struct byre_check_result result;
};

static struct check_job *check_of(struct byre_job *job)
{
    return (struct check_job *)job;
}

/* What a repair leaves is reported by the look that follows it. */
static void found(void *user, const struct byre_finding *finding)
{
    const struct check_job *check = user;

    if (check->opts.found == NULL ||
        (check->is_repair && finding->repaired == 0))
        return;
    check->opts.found(check->opts.user, finding);
}

static int advance(void *user, uint64_t done, uint64_t total,
                   struct byre_error *err)
{
    struct check_job *check = user;

    atomic_store_explicit(&check->job.total_bytes, total, memory_order_relaxed);
    atomic_store_explicit(&check->job.done_bytes, done, memory_order_relaxed);
    return job_check_canceled(&check->job, err);
}

static int look(struct check_job *check, uint32_t repair,
                struct byre_check_result *ret, struct byre_error *err)
{
    struct engine *engine = check->image->engine;
    const struct check_sink sink = {
        .user = check,
        .found = found,
        .progress = { .user = check, .advance = advance },
    };
    int r;

    r = job_check_canceled(&check->job, err);
    if (r < 0)
        return r;
    check->is_repair = repair != 0;
    return engine->ops->check(engine, repair, check->opts.memory_bytes, &sink,
                              ret, err);
}

static int repair(struct check_job *check, struct byre_error *err)
{
    struct engine *engine = check->image->engine;
    struct byre_check_result mended, *result = &check->result;
    int r;

    r = look(check, check->opts.flags, &mended, err);
    if (r < 0)
        return r;
    r = look(check, 0, result, err);
    if (r < 0)
        return r;
    result->corruptions_fixed = mended.corruptions_fixed;
    result->leaks_fixed = mended.leaks_fixed;
    if (result->corruptions != 0 || result->check_errors != 0 ||
        engine->ops->mark_sound == NULL)
        return BYRE_OK;
    return engine->ops->mark_sound(engine, err);
}

static int check_run(struct byre_job *job, struct byre_error *err)
{
    struct check_job *check = check_of(job);
    int r;

    r = check->opts.flags != 0 ? repair(check, err)
                               : look(check, 0, &check->result, err);
    if (r < 0) {
        error_prefix(err, "%s", check->image->name);
        return r;
    }
    job_complete(job);
    check->finished = true;
    return BYRE_OK;
}

static void check_free(struct byre_job *job)
{
    free(check_of(job));
}

static const struct job_ops check_ops = {
    .run = check_run,
    .free = check_free,
};

static int check_image(const struct byre *img, uint32_t flags,
                       struct byre_error *err)
{
    if (!img->check_only)
        return fail(err, BYRE_E_STATE,
                    "%s: the image was not opened to be checked", img->name);
    if (img->engine->ops->check == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s: images of format %s have nothing to check", img->name,
                    img->engine->format);
    if ((flags & ~KNOWN_FLAGS) != 0)
        return fail(err, BYRE_E_INVALID, "unknown flags 0x%x for a check",
                    flags & ~KNOWN_FLAGS);
    if (flags != 0 && !img->may_repair)
        return fail(err, BYRE_E_STATE,
                    "%s: the image is open for reading only, and cannot be "
                    "repaired",
                    img->name);
    if (flags != 0 &&
        (img->store->ops.write == NULL || img->store->ops.flush == NULL))
        return fail(err, BYRE_E_STATE,
                    "%s: the store has no functions to write and flush",
                    img->name);
    return BYRE_OK;
}

static int take_options(const struct byre_check_options *given,
                        struct byre_check_options *ret, struct byre_error *err)
{
    const struct byre_check_options defaults = BYRE_CHECK_OPTIONS_INIT;
    int r = BYRE_OK;

    *ret = defaults;
    if (given != NULL)
        r = sized_copy_in(given, sizeof(size_t), ret, sizeof(*ret),
                          "struct byre_check_options", err);
    if (ret->memory_bytes == 0)
        ret->memory_bytes = DEFAULT_MEMORY_BYTES;
    return r;
}

int byre_check(struct byre *img, const struct byre_check_options *opts,
               struct byre_job **ret_job, struct byre_error *err)
{
    struct byre_check_options known;
    struct check_job *check;
    int r;

    if (img == NULL || ret_job == NULL)
        return fail(err, BYRE_E_INVALID,
                    "a check needs an image, and room for the job");
    r = take_options(opts, &known, err);
    if (r == BYRE_OK)
        r = check_image(img, known.flags, err);
    if (r < 0)
        return r;

    check = calloc(1, sizeof(*check));
    if (check == NULL)
        return fail_nomem(err, "a job", sizeof(*check));
    job_init(&check->job, &check_ops, img->engine->size_bytes);
    check->image = img;
    check->opts = known;
    *ret_job = &check->job;
    return BYRE_OK;
}

int byre_check_get_result(const struct byre_job *job,
                          struct byre_check_result *ret_result,
                          struct byre_error *err)
{
    const struct check_job *check = (const struct check_job *)job;

    if (job == NULL || ret_result == NULL || job->ops != &check_ops ||
        !check->finished)
        return fail(err, BYRE_E_STATE, "this is no check job that has run");
    return sized_copy_out(&check->result, sizeof(check->result), ret_result,
                          "struct byre_check_result", err);
}
