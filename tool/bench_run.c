/* SPDX-License-Identifier: MIT */
#include "bench_run.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

#define MAX_THREADS        64
#define THREAD_STACK_BYTES ((size_t)256 << 10)

/* ---- What the threads share ---- */

struct bench {
    const struct bench_plan *plan;
    struct byre *img;
    uint64_t size_bytes;      /* of the disk */
    _Atomic uint64_t started; /* requests */
    atomic_bool failed;
    /* Below the lock: only a bench with flushes takes it at each request. */
    pthread_mutex_t lock;
    pthread_cond_t settled; /* nothing is in flight, or a flush is over */
    uint64_t in_flight;
    uint64_t flushed_at; /* `started` when the last flush began */
    bool flushing;
    struct byre_error error; /* of the first failure */
};

static void fail_bench(struct bench *bench, const struct byre_error *err)
{
    pthread_mutex_lock(&bench->lock);
    if (!atomic_exchange(&bench->failed, true))
        bench->error = *err;
    pthread_cond_broadcast(&bench->settled);
    pthread_mutex_unlock(&bench->lock);
}

/*
 * Where a request is: one that would pass the end of the disk begins at 0.  The
 * first one is where it was asked for, and fails if that is no good.
 */
static uint64_t place(const struct bench *bench, uint64_t index)
{
    const struct bench_plan *plan = bench->plan;
    uint64_t offset = plan->offset;

    if (index == 0 || bench->size_bytes == 0)
        return offset;
    offset = (offset + index * plan->step) % bench->size_bytes;
    return plan->buffer_size <= bench->size_bytes - offset ? offset : 0;
}

/* ---- Taking requests ---- */

/* QEMU counts what is left, and does not flush before the first request. */
static bool flush_is_due(const struct bench *bench, uint64_t index)
{
    const struct bench_plan *plan = bench->plan;

    return index > 0 && index < plan->count && bench->flushed_at != index &&
           (plan->count - index) % plan->flush_interval == 0;
}

/*
 * Flushes, with the lock given up meanwhile.  While it lasts, others go on only
 * with --no-drain.
 */
static void flush(struct bench *bench, uint64_t index)
{
    const bool drain = !bench->plan->no_drain;
    struct byre_error err;
    int r;

    bench->flushed_at = index;
    bench->flushing = drain;
    while (drain && bench->in_flight > 0 && !atomic_load(&bench->failed))
        pthread_cond_wait(&bench->settled, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
    r = byre_flush(bench->img, &err);
    if (r < 0)
        fail_bench(bench, &err);
    pthread_mutex_lock(&bench->lock);
    bench->flushing = false;
    pthread_cond_broadcast(&bench->settled);
}

static bool next_between_flushes(struct bench *bench, uint64_t *ret_index)
{
    bool more = false;

    pthread_mutex_lock(&bench->lock);
    for (;;) {
        const uint64_t index = atomic_load(&bench->started);

        if (atomic_load(&bench->failed) || index >= bench->plan->count)
            break;
        if (bench->flushing) {
            pthread_cond_wait(&bench->settled, &bench->lock);
        } else if (flush_is_due(bench, index)) {
            flush(bench, index);
        } else {
            *ret_index = atomic_fetch_add(&bench->started, 1);
            bench->in_flight++;
            more = true;
            break;
        }
    }
    pthread_mutex_unlock(&bench->lock);
    return more;
}

static bool next_request(struct bench *bench, uint64_t *ret_index)
{
    if (bench->plan->flush_interval > 0)
        return next_between_flushes(bench, ret_index);
    if (atomic_load(&bench->failed))
        return false;
    *ret_index = atomic_fetch_add(&bench->started, 1);
    return *ret_index < bench->plan->count;
}

static void end_request(struct bench *bench)
{
    if (bench->plan->flush_interval == 0)
        return;
    pthread_mutex_lock(&bench->lock);
    bench->in_flight--;
    if (bench->in_flight == 0)
        pthread_cond_broadcast(&bench->settled);
    pthread_mutex_unlock(&bench->lock);
}

/* ---- Threads ---- */

static int do_request(struct bench *bench, uint64_t index, uint8_t *buf,
                      struct byre_error *err)
{
    const struct bench_plan *plan = bench->plan;
    const uint64_t offset = place(bench, index);
    const size_t length = (size_t)plan->buffer_size;

    if (plan->write)
        return byre_write(bench->img, offset, buf, length, plan->write_flags,
                          err);
    return byre_read(bench->img, offset, buf, length, err);
}

/* Memory for a request; direct I/O needs it aligned. */
static uint8_t *new_buffer(const struct bench_plan *plan)
{
    const size_t size = (size_t)plan->buffer_size;
    void *buf = NULL;

    if (posix_memalign(&buf, 4096, size > 0 ? size : 1) != 0)
        return NULL;
    memset(buf, plan->pattern, size);
    return buf;
}

struct worker {
    struct bench *bench;
    uint8_t *buf;
    pthread_t thread;
    bool started;
};

static void *work(void *user)
{
    const struct worker *worker = user;
    struct bench *bench = worker->bench;
    struct byre_error err;
    uint64_t index;

    while (next_request(bench, &index)) {
        if (do_request(bench, index, worker->buf, &err) < 0)
            fail_bench(bench, &err);
        end_request(bench);
    }
    return NULL;
}

/* Starts a thread.  Returns false with `err` filled. */
static bool start(struct worker *worker, struct byre_error *err)
{
    pthread_attr_t attributes;

    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
        worker->started =
            pthread_create(&worker->thread, &attributes, work, worker) == 0;
        pthread_attr_destroy(&attributes);
    }
    if (!worker->started)
        snprintf(err->message, sizeof(err->message),
                 "cannot start a thread for each request; a smaller depth (-d) "
                 "needs fewer");
    return worker->started;
}

/* Makes all the buffers first: memory is not what is measured. */
static bool make_buffers(struct bench *bench, struct worker *workers,
                         size_t count, struct byre_error *err)
{
    for (size_t i = 0; i < count; i++) {
        workers[i].bench = bench;
        workers[i].buf = new_buffer(bench->plan);
        if (workers[i].buf == NULL) {
            err->code = BYRE_E_NOMEM;
            snprintf(err->message, sizeof(err->message),
                     "out of memory: no %zu buffers of %" PRIu64 " bytes",
                     count, bench->plan->buffer_size);
            return false;
        }
    }
    return true;
}

/* Returns false with the reason in bench->error. */
static bool run_workers(struct bench *bench, struct worker *workers,
                        size_t count, double *ret_seconds)
{
    const uint64_t begin = io_clock();

    for (size_t i = 0; i < count; i++) {
        struct byre_error err = { .code = BYRE_E_NOMEM };

        if (!start(&workers[i], &err)) {
            fail_bench(bench, &err);
            break;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (workers[i].started)
            pthread_join(workers[i].thread, NULL);
    *ret_seconds = (double)(io_clock() - begin) / 1e9;
    return !atomic_load(&bench->failed);
}

static size_t thread_count(const struct bench_plan *plan)
{
    uint64_t count = plan->depth;

    if (count > plan->count)
        count = plan->count;
    return count < MAX_THREADS ? (size_t)count : MAX_THREADS;
}

/* Returns false with the reason in bench->error. */
static bool measure(struct bench *bench, double *ret_seconds)
{
    const size_t count = thread_count(bench->plan);
    struct worker workers[MAX_THREADS] = { 0 };
    bool good = make_buffers(bench, workers, count, &bench->error);

    if (good)
        good = run_workers(bench, workers, count, ret_seconds);
    for (size_t i = 0; i < count; i++)
        free(workers[i].buf);
    return good;
}

int bench_run(const struct bench_plan *plan, struct byre *img,
              double *ret_seconds, struct byre_error *err)
{
    struct bench bench = {
        .plan = plan,
        .img = img,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .settled = PTHREAD_COND_INITIALIZER,
    };
    struct byre_info info = BYRE_INFO_INIT;
    int r;

    r = byre_get_info(img, &info, err);
    if (r < 0)
        return r;
    bench.size_bytes = info.virtual_size_bytes;
    if (measure(&bench, ret_seconds))
        return BYRE_OK;
    *err = bench.error;
    return err->code;
}
