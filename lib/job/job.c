/* SPDX-License-Identifier: MIT */
#include "job/job.h"

#include "base/error.h"

void job_init(struct byre_job *job, const struct job_ops *ops,
              uint64_t total_bytes)
{
    job->ops = ops;
    atomic_init(&job->done_bytes, 0);
    atomic_init(&job->total_bytes, total_bytes);
    atomic_init(&job->canceled, false);
    job->started = false;
}

int job_check_canceled(struct byre_job *job, struct byre_error *err)
{
    if (!atomic_load_explicit(&job->canceled, memory_order_relaxed))
        return BYRE_OK;
    return fail(err, BYRE_E_CANCELED, "canceled");
}

int byre_job_run(struct byre_job *job, struct byre_error *err)
{
    if (job == NULL || job->started)
        return fail(err, BYRE_E_STATE, "a job runs once");
    job->started = true;
    return job->ops->run(job, err);
}

void byre_job_progress(const struct byre_job *job, uint64_t *ret_done_bytes,
                       uint64_t *ret_total_bytes)
{
    *ret_total_bytes =
        atomic_load_explicit(&job->total_bytes, memory_order_relaxed);
    *ret_done_bytes =
        atomic_load_explicit(&job->done_bytes, memory_order_relaxed);
}

void byre_job_cancel(struct byre_job *job)
{
    atomic_store_explicit(&job->canceled, true, memory_order_relaxed);
}

void byre_job_free(struct byre_job *job)
{
    if (job != NULL)
        job->ops->free(job);
}
