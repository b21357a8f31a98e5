/* SPDX-License-Identifier: MIT */
#include "runner.h"

#include <pthread.h>
#include <stdio.h>

#include "base/error.h"
#include "memory.h"

/* ---- Stores ---- */

static int make_store(struct runner *runner, size_t index,
                      struct byre_error *err)
{
    const struct beginning *beginning = runner->beginning;
    int r = recorder_store_new(runner->log, beginning->files[index],
                               beginning->file_bytes[index],
                               &runner->stores[index], err);

    if (r < 0)
        return r;
    if (runner->faults == NULL) {
        runner->used[index] = store_ref(runner->stores[index]);
        return BYRE_OK;
    }
    return fault_store_new(runner->stores[index], runner->faults,
                           &runner->used[index], err);
}

int runner_init(struct runner *runner, const struct beginning *beginning,
                struct faults *faults, struct byre_error *err)
{
    const struct plan *plan = beginning->plan;
    const uint64_t disk_bytes = image_kind_disk(plan->kind);
    int r;

    *runner = (struct runner){ .beginning = beginning,
                               .plan = plan,
                               .faults = faults };
    disk_model_init(&runner->model, disk_bytes, plan->max_bytes);
    disk_model_start(&runner->model, beginning->disk, disk_bytes);
    r = record_log_new(&runner->log, err);
    for (size_t i = 0; r == BYRE_OK && i < image_kind_stores(plan->kind); i++)
        r = make_store(runner, i, err);
    return r;
}

void runner_done(struct runner *runner)
{
    if (runner->image.disk != NULL)
        image_close(&runner->image, NULL);
    for (size_t i = 0; i < MAX_STORES; i++) {
        byre_store_unref(runner->used[i]);
        byre_store_unref(runner->stores[i]);
    }
    record_log_free(runner->log);
    disk_model_done(&runner->model);
    snapshot_model_done(&runner->snapshots);
}

/* ---- Opening and closing ---- */

static uint64_t now(const struct runner *runner)
{
    return record_log_length(runner->log);
}

static int open_image(struct runner *runner, struct byre_error *err)
{
    const struct image_options options = {
        .flags = BYRE_OPEN_WRITE,
        .cache_bytes = runner->plan->workload->cache_bytes
    };

    return image_open(runner->plan->kind, runner->used, &options,
                      &runner->image, err);
}

int runner_begin(struct runner *runner, struct byre_error *err)
{
    int r = BYRE_OK;

    if (runner->plan->kind->recipe == NULL)
        r = image_create(runner->plan->kind, runner->used, err);
    if (r < 0)
        return r;
    runner->created = now(runner);
    return open_image(runner, err);
}

int runner_close(struct runner *runner, struct byre_error *err)
{
    const int r = image_close(&runner->image, err);

    if (r == BYRE_OK)
        disk_model_promise(&runner->model, now(runner));
    else
        disk_model_doubt(&runner->model);
    return r;
}

/* ---- Looking at it ---- */

void runner_pause_faults(struct runner *runner, struct runner_pause *pause)
{
    struct faults *faults = runner->faults;

    for (size_t i = 0; faults != NULL && i < FAULT_KINDS; i++) {
        pause->plan[i] = faults->plan[i];
        pause->calls[i] = atomic_load(&faults->calls[i]);
        faults->plan[i].nth = 0;
    }
}

void runner_resume_faults(struct runner *runner,
                          const struct runner_pause *pause)
{
    struct faults *faults = runner->faults;

    for (size_t i = 0; faults != NULL && i < FAULT_KINDS; i++) {
        faults->plan[i] = pause->plan[i];
        atomic_store(&faults->calls[i], pause->calls[i]);
    }
}

static int read_back(struct runner *runner, const struct step *step,
                     uint8_t *bytes, struct byre_error *err)
{
    struct runner_pause pause;
    int r;

    runner_pause_faults(runner, &pause);
    r = byre_read(runner->image.disk, step->offset, bytes, (size_t)step->length,
                  err);
    runner_resume_faults(runner, &pause);
    return r;
}

uint64_t runner_disk_bytes(struct runner *runner)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct runner_pause pause;
    int r;

    runner_pause_faults(runner, &pause);
    r = byre_get_info(runner->image.disk, &info, NULL);
    runner_resume_faults(runner, &pause);
    return r == BYRE_OK ? info.virtual_size_bytes
                        : disk_model_bytes(&runner->model);
}

/* ---- Steps ---- */

/* Fills the bytes of a write; those that do not compress have a counter. */
static uint8_t *new_content(struct runner *runner, const struct step *step)
{
    uint8_t *bytes = memory_new((size_t)step->length + 1);

    disk_pattern(++runner->pattern, step->offset, bytes, step->length);
    for (uint64_t i = 0; (step->flags & STEP_NOISE) != 0 && i < step->length;
         i++)
        bytes[i] ^= (uint8_t)((i * i * 2654435761u) >> 13);
    return bytes;
}

static int step_write(struct runner *runner, const struct step *step,
                      struct byre_error *err)
{
    uint32_t flags = (step->flags & STEP_FUA) != 0 ? BYRE_WRITE_FUA : 0;
    uint8_t *bytes = new_content(runner, step);
    int r;

    flags |= step->kind == STEP_COMPRESS ? BYRE_WRITE_COMPRESSED : 0;
    disk_model_begin(&runner->model, step->offset, bytes, step->length,
                     now(runner));
    r = byre_write(runner->image.disk, step->offset, bytes,
                   (size_t)step->length, flags, err);
    if (r == BYRE_OK)
        disk_model_succeed(&runner->model, step->offset, step->length);
    free(bytes);
    return r;
}

static int step_zero(struct runner *runner, const struct step *step,
                     struct byre_error *err)
{
    uint32_t flags = (step->flags & STEP_FUA) != 0 ? BYRE_WRITE_FUA : 0;
    int r;

    flags |= step->kind == STEP_UNMAP ? BYRE_WRITE_MAY_UNMAP : 0;
    disk_model_begin(&runner->model, step->offset, NULL, step->length,
                     now(runner));
    r = byre_zero(runner->image.disk, step->offset, step->length, flags, err);
    if (r == BYRE_OK)
        disk_model_succeed(&runner->model, step->offset, step->length);
    return r;
}

static int settle_sector(struct runner *runner, uint64_t sector,
                         const uint8_t *bytes, struct byre_error *err)
{
    const uint64_t offset = sector * MODEL_SECTOR;
    struct disk_model *model = &runner->model;

    if (memcmp(bytes, disk_model_newest(model, sector), MODEL_SECTOR) != 0) {
        if (memcmp(bytes, disk_model_older(model, sector, 1), MODEL_SECTOR) !=
            0)
            return fail(err, BYRE_E_CORRUPT,
                        "sector %llu is neither zero nor as before a discard",
                        (unsigned long long)sector);
        disk_model_begin(model, offset, bytes, MODEL_SECTOR, now(runner));
    }
    disk_model_succeed(model, offset, MODEL_SECTOR);
    return BYRE_OK;
}

/* Where the format cannot say that a cluster reads as zeroes, it reads as
   before: what it does is read back, and is what it must stay then. */
static int settle_discard(struct runner *runner, const struct step *step,
                          struct byre_error *err)
{
    uint8_t *bytes = memory_new((size_t)step->length + 1);
    int r;

    r = read_back(runner, step, bytes, err);
    for (uint64_t i = 0; r == BYRE_OK && i < step->length; i += MODEL_SECTOR)
        r = settle_sector(runner, (step->offset + i) / MODEL_SECTOR, bytes + i,
                          err);
    free(bytes);
    return r;
}

/* The whole clusters of a range; the last one of the disk may be short. */
static struct step whole_clusters(struct runner *runner,
                                  const struct step *step)
{
    const uint64_t cluster = runner->plan->kind->cluster_bytes;
    const uint64_t end = step->offset + step->length;
    const uint64_t start = (step->offset + cluster - 1) / cluster * cluster;
    uint64_t last = end / cluster * cluster;
    struct step whole = { .kind = STEP_DISCARD, .offset = start };

    if (end == runner_disk_bytes(runner))
        last = end;
    whole.length = last > start ? last - start : 0;
    return whole;
}

static int step_discard(struct runner *runner, const struct step *step,
                        struct byre_error *err)
{
    const bool exact = (runner->plan->kind->flags & KIND_MAKES_NO_ZEROES) == 0;
    const struct step whole = whole_clusters(runner, step);
    int r;

    disk_model_begin(&runner->model, whole.offset, NULL, whole.length,
                     now(runner));
    r = byre_discard(runner->image.disk, step->offset, step->length, 0, err);
    if (r < 0 || whole.length == 0)
        return r;
    if (!exact)
        return settle_discard(runner, &whole, err);
    disk_model_succeed(&runner->model, whole.offset, whole.length);
    return BYRE_OK;
}

static int step_flush(struct runner *runner, struct byre_error *err)
{
    const int r = byre_flush(runner->image.disk, err);

    if (r == BYRE_OK)
        disk_model_promise(&runner->model, now(runner));
    return r;
}

/* What is cut off may be gone before the size is; it comes back as zeroes. */
static int step_resize(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    const uint64_t before = runner_disk_bytes(runner);
    const uint64_t lost = step->length < before ? before - step->length : 0;
    int r;

    disk_model_begin(&runner->model, step->length, NULL, lost, now(runner));
    disk_model_begin_size(&runner->model, step->length, now(runner));
    r = byre_resize(runner->image.disk, step->length, BYRE_RESIZE_SHRINK,
                    BYRE_PREALLOCATION_OFF, err);
    if (r < 0)
        return r;
    disk_model_succeed(&runner->model, step->length, lost);
    disk_model_promise_range(&runner->model, step->length, lost, now(runner));
    disk_model_succeed_size(&runner->model, now(runner));
    return BYRE_OK;
}

static int step_reopen(struct runner *runner, struct byre_error *err)
{
    struct byre_error opening = { .message = "" };
    const int r = runner_close(runner, err);
    const int r_open = open_image(runner, &opening);

    if (r == BYRE_OK && r_open < 0)
        *err = opening;
    return r < 0 ? r : r_open;
}

static int step_action(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    const int r = step->action->run(runner, step, err);

    if (r == BYRE_OK)
        disk_model_promise(&runner->model, now(runner));
    return r;
}

/* ---- Threads ---- */

#define THREADS       4
#define THREAD_WRITES 6

/* One thread writes every fourth of the pieces that a range consists of, so
   that all of them meet in each cluster. */
struct worker {
    struct runner *runner;
    struct step steps[THREAD_WRITES];
    uint8_t *bytes[THREAD_WRITES];
    struct byre_error err;
    int result;
    pthread_t thread;
};

static void *run_worker(void *user)
{
    struct worker *worker = user;

    for (size_t i = 0; i < THREAD_WRITES && worker->result == BYRE_OK; i++)
        worker->result = byre_write(
            worker->runner->image.disk, worker->steps[i].offset,
            worker->bytes[i], (size_t)worker->steps[i].length, 0, &worker->err);
    return NULL;
}

static void prepare_worker(struct runner *runner, const struct step *step,
                           size_t index, struct worker *worker)
{
    const uint64_t piece = step->length / (THREADS * THREAD_WRITES);
    const uint64_t length = piece / MODEL_SECTOR * MODEL_SECTOR;
    const uint64_t first =
        (step->offset + MODEL_SECTOR - 1) / MODEL_SECTOR * MODEL_SECTOR;

    worker->runner = runner;
    for (size_t i = 0; i < THREAD_WRITES; i++) {
        struct step *write = &worker->steps[i];

        *write =
            (struct step){ .kind = STEP_WRITE,
                           .offset = first + (i * THREADS + index) * length,
                           .length = length };
        worker->bytes[i] = new_content(runner, write);
        disk_model_begin(&runner->model, write->offset, worker->bytes[i],
                         write->length, now(runner));
    }
}

static int step_parallel(struct runner *runner, const struct step *step,
                         struct byre_error *err)
{
    struct worker workers[THREADS] = { { .result = BYRE_OK } };
    int r = BYRE_OK;

    for (size_t i = 0; i < THREADS; i++)
        prepare_worker(runner, step, i, &workers[i]);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) !=
            0)
            abort();
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].result < 0) {
            r = workers[i].result;
            *err = workers[i].err;
        }
        for (size_t j = 0; j < THREAD_WRITES; j++) {
            if (workers[i].result == BYRE_OK)
                disk_model_succeed(&runner->model, workers[i].steps[j].offset,
                                   workers[i].steps[j].length);
            free(workers[i].bytes[j]);
        }
    }
    return r;
}

/* ---- Running ---- */

static int run_step(struct runner *runner, const struct step *step,
                    struct byre_error *err)
{
    switch (step->kind) {
    case STEP_WRITE:
    case STEP_COMPRESS:
        return step_write(runner, step, err);
    case STEP_ZERO:
    case STEP_UNMAP:
        return step_zero(runner, step, err);
    case STEP_DISCARD:
        return step_discard(runner, step, err);
    case STEP_FLUSH:
        return step_flush(runner, err);
    case STEP_RESIZE:
        return step_resize(runner, step, err);
    case STEP_REOPEN:
        return step_reopen(runner, err);
    case STEP_PARALLEL:
        return step_parallel(runner, step, err);
    case STEP_ACTION:
        return step_action(runner, step, err);
    case STEP_MARK:
        runner->mark = now(runner);
        return BYRE_OK;
    case STEP_END:
        break;
    }
    return BYRE_OK;
}

int runner_step(struct runner *runner, const struct step *step,
                struct byre_error *err)
{
    const bool fua = (step->flags & STEP_FUA) != 0;
    int r;

    runner->step = step;
    runner->operations++;
    r = run_step(runner, step, err);
    if (r == BYRE_OK && fua &&
        (step->kind == STEP_WRITE || step->kind == STEP_ZERO ||
         step->kind == STEP_UNMAP))
        disk_model_promise_range(&runner->model, step->offset, step->length,
                                 now(runner));
    return r;
}

void step_describe(const struct step *step, char *text, size_t size)
{
    static const char *const names[] = { "end",      "write",  "compress",
                                         "zero",     "unmap",  "discard",
                                         "flush",    "resize", "reopen",
                                         "parallel", "action", "mark" };

    snprintf(text, size, "%s %llu+%llu%s",
             step->action != NULL ? step->action->name : names[step->kind],
             (unsigned long long)step->offset, (unsigned long long)step->length,
             (step->flags & STEP_FUA) != 0 ? " fua" : "");
}

int runner_verify(struct runner *runner, struct byre_error *err)
{
    const uint64_t size = runner_disk_bytes(runner);
    const struct step all = { .length = size };
    uint8_t *bytes = memory_new((size_t)size + MODEL_SECTOR);
    int r = read_back(runner, &all, bytes, err);

    if (r == BYRE_OK && !disk_model_allows_size_now(&runner->model, size))
        r = fail(err, BYRE_E_CORRUPT, "a disk of %llu bytes",
                 (unsigned long long)size);
    for (uint64_t i = 0; r == BYRE_OK && i < size / MODEL_SECTOR; i++)
        if (!disk_model_allows_now(&runner->model, i, bytes + i * MODEL_SECTOR))
            r = fail(err, BYRE_E_CORRUPT, "sector %llu reads wrong",
                     (unsigned long long)i);
    free(bytes);
    return r;
}

int runner_run(struct runner *runner, struct byre_error *err)
{
    char text[80] = "begin";
    int r = runner_begin(runner, err);

    for (const struct step *step = runner->plan->steps;
         r == BYRE_OK && step->kind != STEP_END; step++) {
        step_describe(step, text, sizeof(text));
        r = runner_step(runner, step, err);
        if (r == BYRE_OK)
            r = runner_verify(runner, err);
    }
    if (r == BYRE_OK) {
        snprintf(text, sizeof(text), "close");
        r = runner_close(runner, err);
    }
    if (r < 0)
        error_prefix(err, "step %u, %s", runner->operations, text);
    return r;
}
