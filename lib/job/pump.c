/* SPDX-License-Identifier: MIT */
#include "job/pump.h"

#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/workers.h"

#define BUFFER_ALIGNMENT 4096 /* enough for O_DIRECT on any device */

static bool is_free(const struct pump *pump, const struct piece *piece)
{
    return pump->ops->is_free(pump->user, piece);
}

/* Sleeps until what was written, this piece too, is within the rate. */
static void keep_rate(struct pump *pump, const struct piece *piece)
{
    const uint64_t rate = pump->rate_bytes_per_second;
    const uint64_t cost = is_free(pump, piece) ? 0 : piece->length;
    const uint64_t done = atomic_fetch_add(&pump->written_bytes, cost) + cost;
    const struct timespec tick = { 0, 20 * 1000 * 1000 };
    struct timespec now;

    while (rate != 0 && !atomic_load(&pump->job->canceled) &&
           !atomic_load(&pump->failed)) {
        double elapsed;

        clock_gettime(CLOCK_MONOTONIC, &now);
        elapsed = (double)(now.tv_sec - pump->started.tv_sec) +
                  (double)(now.tv_nsec - pump->started.tv_nsec) / 1e9;
        if ((double)done <= elapsed * (double)rate)
            return;
        nanosleep(&tick, NULL);
    }
}

static void record_failure(struct pump *pump, int status,
                           const struct byre_error *error)
{
    pthread_mutex_lock(&pump->lock);
    if (pump->status == BYRE_OK) {
        pump->status = status;
        pump->error = *error;
    }
    atomic_store(&pump->failed, true);
    pthread_mutex_unlock(&pump->lock);
}

/* The next piece for a worker, and its turn, unless somebody failed. */
static int next_piece(struct pump *pump, struct piece *piece, struct turn *turn,
                      struct byre_error *err)
{
    int r;

    r = job_check_canceled(pump->job, err);
    if (r < 0)
        return r;

    pthread_mutex_lock(&pump->lock);
    r = pump->status < 0 ? 0 : pump->ops->next(pump->user, piece, err);
    if (r > 0) {
        const bool ordered = pump->ordered && !is_free(pump, piece);

        turn_begin(turn, ordered ? &pump->turns : NULL, pump->next_number);
        pump->next_number += ordered;
    }
    pump->at_end = pump->at_end || r == 0;
    pthread_mutex_unlock(&pump->lock);
    return r;
}

static int work_with(struct pump *pump, struct piece *piece, uint8_t *buf,
                     struct byre_error *err)
{
    struct turn turn;
    int r;

    for (;;) {
        r = next_piece(pump, piece, &turn, err);
        if (r <= 0)
            return r;
        r = is_free(pump, piece)
                ? BYRE_OK
                : pump->ops->work(pump->user, piece, buf, &turn, err);
        if (r < 0)
            record_failure(pump, r, err);
        turn_end(&turn);
        if (r < 0)
            return r;
        job_advance(pump->job, piece->length);
        keep_rate(pump, piece);
    }
}

static void work(void *user)
{
    struct pump *pump = user;
    struct piece piece = {
        .segments =
            calloc(max_u64(pump->most_segments, 1), sizeof(piece.segments[0])),
    };
    struct byre_error error;
    void *buf = NULL;
    int r;

    /* One worker with memory does it all; pump_run() sees if none had. */
    if (piece.segments != NULL &&
        posix_memalign(&buf, BUFFER_ALIGNMENT, pump->buffer_bytes) == 0) {
        r = work_with(pump, &piece, buf, &error);
        if (r < 0)
            record_failure(pump, r, &error);
        free(buf);
    }
    free(piece.segments);
}

int pump_run(struct pump *pump, struct byre_error *err)
{
    int r;

    pthread_mutex_init(&pump->lock, NULL);
    turns_init(&pump->turns);
    clock_gettime(CLOCK_MONOTONIC, &pump->started);
    workers_run(pump->workers == 0 ? workers_default_count() : pump->workers,
                work, pump);
    r = pump->status;
    if (r == BYRE_OK && !pump->at_end)
        r = fail_nomem(&pump->error, "a buffer", pump->buffer_bytes);
    turns_done(&pump->turns);
    pthread_mutex_destroy(&pump->lock);
    if (r < 0 && err != NULL)
        *err = pump->error;
    return r;
}
