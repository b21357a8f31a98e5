/* SPDX-License-Identifier: MIT */
/*
 * Amend: an image becomes one of another version, width or size in place.  The
 * work is the engine's; here it gets its progress and its end.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/sized.h"
#include "image/image.h"
#include "job/job.h"

#define KNOWN                                                                  \
    (BYRE_AMEND_VERSION | BYRE_AMEND_REFCOUNT_BITS |                           \
     BYRE_AMEND_LAZY_REFCOUNTS | BYRE_AMEND_DATA_FILE |                        \
     BYRE_AMEND_DATA_FILE_RAW | BYRE_AMEND_SIZE)

struct amend_job {
    struct byre_job job; /* first, so that the two convert */
    struct byre *image;
    struct byre_amend_options opts;
    char *data_file; /* what opts.data_file points to */
};

/* Each part of the work counts from its own beginning. */
static int advance(void *user, uint64_t done, uint64_t total,
                   struct byre_error *err)
{
    struct byre_job *job = user;

    atomic_store_explicit(&job->total_bytes, total, memory_order_relaxed);
    atomic_store_explicit(&job->done_bytes, done, memory_order_relaxed);
    return job_check_canceled(job, err);
}

static int amend_run(struct byre_job *job, struct byre_error *err)
{
    struct amend_job *amend = (struct amend_job *)job;
    struct engine *engine = amend->image->engine;
    const struct engine_progress progress = { job, advance };
    int r;

    r = job_check_canceled(job, err);
    if (r < 0)
        return r;

    /* Caches are made anew, which a flush outside the gate looks at. */
    pthread_rwlock_wrlock(&amend->image->writing);
    r = image_change_begin(amend->image, err);
    if (r == BYRE_OK) {
        r = engine->ops->amend(engine, &amend->opts, &progress, err);
        r = image_change_end(amend->image, r, err);
    }
    pthread_rwlock_unlock(&amend->image->writing);
    if (r < 0)
        return r;
    job_complete(job);
    return BYRE_OK;
}

static void amend_free(struct byre_job *job)
{
    struct amend_job *amend = (struct amend_job *)job;

    free(amend->data_file);
    free(amend);
}

static const struct job_ops amend_ops = {
    .run = amend_run,
    .free = amend_free,
};

static int check_call(const struct byre *img,
                      const struct byre_amend_options *opts,
                      struct byre_error *err)
{
    if ((opts->which & ~KNOWN) != 0)
        return fail(err, BYRE_E_INVALID, "unknown things to amend, 0x%x",
                    opts->which & ~KNOWN);
    if (img->engine->ops->amend == NULL)
        return fail(err, BYRE_E_UNSUPPORTED, "%s: a %s image cannot be amended",
                    img->name, img->engine->format);
    if (!img->engine->writable)
        return fail(err, BYRE_E_STATE, "%s: the image is open for reading only",
                    img->name);
    return BYRE_OK;
}

static int take_name(struct amend_job *amend, struct byre_error *err)
{
    const char *name = amend->opts.data_file;

    if ((amend->opts.which & BYRE_AMEND_DATA_FILE) == 0 || name == NULL)
        return BYRE_OK;
    amend->data_file = strdup(name);
    if (amend->data_file == NULL)
        return fail_nomem(err, "a name", strlen(name));
    amend->opts.data_file = amend->data_file;
    return BYRE_OK;
}

int byre_amend(struct byre *img, const struct byre_amend_options *opts,
               struct byre_job **ret_job, struct byre_error *err)
{
    struct byre_amend_options known;
    struct amend_job *amend;
    int r;

    if (img == NULL || opts == NULL || ret_job == NULL)
        return fail(err, BYRE_E_INVALID,
                    "an image, options and room for the job are required");
    r = sized_copy_in(opts, offsetof(struct byre_amend_options, version),
                      &known, sizeof(known), "struct byre_amend_options", err);
    if (r == BYRE_OK)
        r = check_call(img, &known, err);
    if (r < 0)
        return r;

    amend = calloc(1, sizeof(*amend));
    if (amend == NULL)
        return fail_nomem(err, "a job", sizeof(*amend));
    job_init(&amend->job, &amend_ops, 1);
    amend->image = img;
    amend->opts = known;
    r = take_name(amend, err);
    if (r < 0) {
        amend_free(&amend->job);
        return r;
    }
    *ret_job = &amend->job;
    return BYRE_OK;
}
