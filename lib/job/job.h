/* SPDX-License-Identifier: MIT */
/*
 * What all jobs share: progress that any thread reads, cancel that is one
 * atomic store, and running once.
 */
#ifndef BYRE_JOB_JOB_H
#define BYRE_JOB_JOB_H

#include <stdatomic.h>
#include <stdbool.h>

#include "byre.h"

struct job_ops {
    int (*run)(struct byre_job *job, struct byre_error *err);
    void (*free)(struct byre_job *job);
};

/* Embedded as the first member of each job. */
struct byre_job {
    const struct job_ops *ops;
    _Atomic uint64_t done_bytes;
    _Atomic uint64_t total_bytes;
    atomic_bool canceled;
    bool started;
};

void job_init(struct byre_job *job, const struct job_ops *ops,
              uint64_t total_bytes);

/* Nothing is left to do, whatever was thought before. */
static inline void job_complete(struct byre_job *job)
{
    atomic_store(&job->done_bytes, atomic_load(&job->total_bytes));
}

static inline void job_advance(struct byre_job *job, uint64_t bytes)
{
    atomic_fetch_add_explicit(&job->done_bytes, bytes, memory_order_relaxed);
}

/* BYRE_E_CANCELED once byre_job_cancel() was called. */
int job_check_canceled(struct byre_job *job, struct byre_error *err);

#endif
