/* SPDX-License-Identifier: MIT */
/*
 * Compact: the engine does it, alone with the image; the job shows how far it
 * is, and ends it.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/sized.h"
#include "image/image.h"
#include "job/job.h"

struct compact_job {
    struct byre_job job; /* first, so that the two convert */
    struct byre *image;
    bool finished;
    struct byre_compact_result result;
};

static int advance(void *user, uint64_t done, uint64_t total,
                   struct byre_error *err)
{
    struct byre_job *job = user;

    atomic_store_explicit(&job->total_bytes, total, memory_order_relaxed);
    atomic_store_explicit(&job->done_bytes, done, memory_order_relaxed);
    return job_check_canceled(job, err);
}

static int compact_run(struct byre_job *job, struct byre_error *err)
{
    struct compact_job *compact = (struct compact_job *)job;
    struct engine *engine = compact->image->engine;
    const struct engine_progress progress = { .user = job, .advance = advance };
    int r;

    /* Caches are made anew, which a flush outside the gate looks at. */
    pthread_rwlock_wrlock(&compact->image->writing);
    r = image_change_begin(compact->image, err);
    if (r == BYRE_OK) {
        r = engine->ops->compact(engine, &progress, &compact->result, err);
        r = image_change_end(compact->image, r, err);
    }
    pthread_rwlock_unlock(&compact->image->writing);
    compact->finished = r == BYRE_OK;
    return r;
}

static void compact_free(struct byre_job *job)
{
    free(job);
}

static const struct job_ops compact_ops = {
    .run = compact_run,
    .free = compact_free,
};

int byre_compact(struct byre *img, struct byre_job **ret_job,
                 struct byre_error *err)
{
    struct compact_job *compact;

    if (img == NULL || ret_job == NULL)
        return fail(err, BYRE_E_INVALID,
                    "compact needs an image, and room for the job");
    if (!img->engine->writable)
        return fail(err, BYRE_E_STATE, "%s: the image is open for reading only",
                    img->name);
    if (img->engine->ops->compact == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s: only QCOW2 images can be compacted in place, not %s; "
                    "convert writes a compact one",
                    img->name, img->engine->format);

    compact = calloc(1, sizeof(*compact));
    if (compact == NULL)
        return fail_nomem(err, "a job", sizeof(*compact));
    job_init(&compact->job, &compact_ops, img->engine->size_bytes);
    compact->image = img;
    *ret_job = &compact->job;
    return BYRE_OK;
}

int byre_compact_get_result(const struct byre_job *job,
                            struct byre_compact_result *ret_result,
                            struct byre_error *err)
{
    const struct compact_job *compact = (const struct compact_job *)job;

    if (job == NULL || ret_result == NULL || job->ops != &compact_ops ||
        !compact->finished)
        return fail(err, BYRE_E_STATE, "this is no compact job that has run");
    return sized_copy_out(&compact->result, sizeof(compact->result), ret_result,
                          "struct byre_compact_result", err);
}
