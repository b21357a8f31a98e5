/* SPDX-License-Identifier: MIT */
/*
 * Convert: copies disks into a raw target.
 *
 * One cursor walks the sources' extents under a lock and hands out pieces;
 * workers read and write them side by side.  A piece is read into a buffer that
 * stays in the processor's cache, so that looking for zeroes in it and writing
 * it are cheap.  A pipe has one worker: its bytes go out in order.
 *
 * Where the bytes land does not depend on who writes them, so the target is the
 * same for any number of workers.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/workers.h"
#include "image/image.h"
#include "job/job.h"
#include "job/target.h"

#define PIECE_BYTES UINT64_C(524288)
/* Zeroes that are written out come in pieces too, so that cancel is heard. */
#define ZERO_PIECE_BYTES     (UINT64_C(16) << 20)
#define BUFFER_ALIGNMENT     4096 /* enough for O_DIRECT on any device */
#define DEFAULT_SPARSE_BYTES 4096
#define EXTENT_BATCH         64

/* Where the walk over the sources is; `lock` of the job guards it. */
struct cursor {
    size_t source;
    uint64_t source_offset; /* in that source */
    uint64_t target_offset;
    struct byre_extent extents[EXTENT_BATCH]; /* of that source, from there */
    size_t extent_count;
    size_t next_extent;
};

struct piece {
    struct byre *source;
    uint64_t source_offset;
    uint64_t target_offset;
    uint64_t length;
    bool zero;
};

struct convert {
    struct byre_job job; /* first, so that the two convert */
    struct byre_convert_options opts;
    struct byre **sources;
    size_t source_count;
    char *target_name;
    uint64_t total_bytes;
    struct target target;
    struct timespec started;
    _Atomic uint64_t written_bytes; /* what the rate counts */
    atomic_bool failed;

    pthread_mutex_t lock;
    struct cursor cursor;
    int status; /* the first failure, and its error */
    struct byre_error error;
};

static struct convert *convert_of(struct byre_job *job)
{
    return (struct convert *)job;
}

/* ---- The cursor ---- */

static uint64_t source_bytes(const struct convert *convert, size_t source)
{
    return convert->sources[source]->engine->size_bytes;
}

/* What is damaged, as against what only failed now. */
static bool is_damage(int status)
{
    return status == BYRE_E_IO || status == BYRE_E_CORRUPT ||
           status == BYRE_E_UNSUPPORTED;
}

/* Gives up on the mapping of a piece's worth of a damaged source. */
static void salvage_extent(struct convert *convert, uint64_t length,
                           const struct byre_error *why)
{
    struct cursor *cursor = &convert->cursor;

    if (convert->opts.salvaged != NULL)
        convert->opts.salvaged(convert->opts.user, cursor->target_offset,
                               length, why);
    cursor->extents[0] = (struct byre_extent){
        .offset = cursor->source_offset,
        .length = length,
        .flags = BYRE_EXTENT_ZERO,
    };
    cursor->extent_count = 1;
}

static int fetch_extents(struct convert *convert, struct byre_error *err)
{
    struct cursor *cursor = &convert->cursor;
    const uint64_t left =
        source_bytes(convert, cursor->source) - cursor->source_offset;
    int r;

    cursor->next_extent = 0;
    r = byre_extents(convert->sources[cursor->source], cursor->source_offset,
                     left, 0, cursor->extents, EXTENT_BATCH,
                     &cursor->extent_count, err);
    if (is_damage(r) && (convert->opts.flags & BYRE_CONVERT_SALVAGE) != 0) {
        const uint64_t unit = max_u64(
            convert->sources[cursor->source]->engine->cluster_bits != 0
                ? engine_cluster_bytes(convert->sources[cursor->source]->engine)
                : 0,
            ENGINE_SECTOR_BYTES);

        salvage_extent(convert,
                       min_u64(left, unit - cursor->source_offset % unit), err);
        r = BYRE_OK;
    }
    return r;
}

/* Skips to a source with something left; false after the last one. */
static bool find_source(struct convert *convert)
{
    struct cursor *cursor = &convert->cursor;

    while (cursor->source < convert->source_count &&
           cursor->source_offset == source_bytes(convert, cursor->source)) {
        cursor->source++;
        cursor->source_offset = 0;
    }
    return cursor->source < convert->source_count;
}

/* Whether zeroes are there already, and cost nothing. */
static bool zeroes_are_free(const struct convert *convert)
{
    return convert->target.reads_zero &&
           convert->opts.sparse_bytes != BYRE_SPARSE_NONE;
}

/* A piece that is written ends at a multiple of its size in the target. */
static uint64_t piece_length(const struct convert *convert,
                             const struct byre_extent *extent, bool zero)
{
    const struct cursor *cursor = &convert->cursor;
    const uint64_t most = zero ? ZERO_PIECE_BYTES : PIECE_BYTES;
    const uint64_t left =
        extent->offset + extent->length - cursor->source_offset;

    if (zero && zeroes_are_free(convert))
        return left;
    return min_u64(left, most - cursor->target_offset % most);
}

/* Takes the next piece: 1, or 0 at the end.  Called locked. */
static int take_piece(struct convert *convert, struct piece *ret_piece,
                      struct byre_error *err)
{
    struct cursor *cursor = &convert->cursor;
    const struct byre_extent *extent;
    bool zero;
    int r;

    if (!find_source(convert))
        return 0;
    if (cursor->next_extent == cursor->extent_count) {
        r = fetch_extents(convert, err);
        if (r < 0)
            return r;
    }

    extent = &cursor->extents[cursor->next_extent];
    zero = (extent->flags & BYRE_EXTENT_ZERO) != 0;
    *ret_piece = (struct piece){
        .source = convert->sources[cursor->source],
        .source_offset = cursor->source_offset,
        .target_offset = cursor->target_offset,
        .length = piece_length(convert, extent, zero),
        .zero = zero,
    };
    cursor->source_offset += ret_piece->length;
    cursor->target_offset += ret_piece->length;
    if (cursor->source_offset == extent->offset + extent->length)
        cursor->next_extent++;
    return 1;
}

/* ---- A piece ---- */

/* memcmp() of a buffer with itself, one step on, is the fastest look there is.
 */
static bool is_zero(const uint8_t *buf, size_t length)
{
    const size_t head = min_u64(length, 16);

    for (size_t i = 0; i < head; i++) {
        if (buf[i] != 0)
            return false;
    }
    return length <= head || memcmp(buf, buf + head, length - head) == 0;
}

/*
 * The run at the start of `buf` that is all zero or has no zero block, in
 * blocks of `block_bytes` counted from the target's start.
 */
static size_t run_length(const uint8_t *buf, size_t length,
                         uint64_t target_offset, uint64_t block_bytes,
                         bool *ret_zero)
{
    size_t run = 0;

    while (run < length) {
        const uint64_t position = target_offset + run;
        const size_t n =
            (size_t)min_u64(length - run, block_bytes - position % block_bytes);
        const bool zero = is_zero(buf + run, n);

        if (run > 0 && zero != *ret_zero)
            break;
        *ret_zero = zero;
        run += n;
    }
    return run;
}

static int write_data(struct convert *convert, const struct piece *piece,
                      const uint8_t *buf, struct byre_error *err)
{
    const uint64_t block = convert->opts.sparse_bytes;
    size_t done = 0;
    int r = BYRE_OK;

    if (block == BYRE_SPARSE_NONE || convert->target.pipe_fd >= 0)
        return target_write(&convert->target, piece->target_offset, buf,
                            (size_t)piece->length, err);

    while (done < piece->length && r == BYRE_OK) {
        const uint64_t offset = piece->target_offset + done;
        bool zero = false;
        const size_t n = run_length(buf + done, (size_t)piece->length - done,
                                    offset, block, &zero);

        r = zero ? target_zero(&convert->target, offset, n, true, err)
                 : target_write(&convert->target, offset, buf + done, n, err);
        done += n;
    }
    return r;
}

/* A cluster that cannot be decoded is lost whole; else it is one sector. */
static uint64_t lost_bytes(const struct piece *piece, uint64_t done, int status)
{
    const struct engine *engine = piece->source->engine;
    uint64_t unit = ENGINE_SECTOR_BYTES;

    if (status == BYRE_E_CORRUPT && engine->cluster_bits != 0)
        unit = engine_cluster_bytes(engine);
    return min_u64(piece->length - done,
                   unit - (piece->source_offset + done) % unit);
}

static void tell_salvaged(struct convert *convert, uint64_t offset,
                          uint64_t length, const struct byre_error *why)
{
    pthread_mutex_lock(&convert->lock);
    if (convert->opts.salvaged != NULL)
        convert->opts.salvaged(convert->opts.user, offset, length, why);
    pthread_mutex_unlock(&convert->lock);
}

/* Reads sector by sector where the whole fails, and zeroes what does not read.
 */
static int salvage_piece(struct convert *convert, const struct piece *piece,
                         uint8_t *buf, struct byre_error *err)
{
    uint64_t n;

    for (uint64_t done = 0; done < piece->length; done += n) {
        int r;

        n = min_u64(piece->length - done, ENGINE_SECTOR_BYTES);
        r = byre_read(piece->source, piece->source_offset + done, buf + done,
                      (size_t)n, err);
        if (r < 0 && !is_damage(r))
            return r;
        if (r < 0) {
            n = lost_bytes(piece, done, r);
            memset(buf + done, 0, (size_t)n);
            tell_salvaged(convert, piece->target_offset + done, n, err);
        }
    }
    return BYRE_OK;
}

static int copy_piece(struct convert *convert, const struct piece *piece,
                      uint8_t *buf, struct byre_error *err)
{
    int r;

    if (piece->zero)
        return target_zero(&convert->target, piece->target_offset,
                           piece->length,
                           convert->opts.sparse_bytes != BYRE_SPARSE_NONE, err);

    r = byre_read(piece->source, piece->source_offset, buf,
                  (size_t)piece->length, err);
    if (is_damage(r) && (convert->opts.flags & BYRE_CONVERT_SALVAGE) != 0)
        r = salvage_piece(convert, piece, buf, err);
    if (r < 0)
        return r;
    return write_data(convert, piece, buf, err);
}

/* Sleeps until what was written, this piece too, is within the rate. */
static void keep_rate(struct convert *convert, const struct piece *piece)
{
    const uint64_t rate = convert->opts.rate_bytes_per_second;
    const uint64_t cost =
        piece->zero && zeroes_are_free(convert) ? 0 : piece->length;
    const uint64_t done =
        atomic_fetch_add(&convert->written_bytes, cost) + cost;
    const struct timespec tick = { 0, 20 * 1000 * 1000 };
    struct timespec now;

    while (rate != 0 && !atomic_load(&convert->job.canceled) &&
           !atomic_load(&convert->failed)) {
        double elapsed;

        clock_gettime(CLOCK_MONOTONIC, &now);
        elapsed = (double)(now.tv_sec - convert->started.tv_sec) +
                  (double)(now.tv_nsec - convert->started.tv_nsec) / 1e9;
        if ((double)done <= elapsed * (double)rate)
            return;
        nanosleep(&tick, NULL);
    }
}

/* ---- The workers ---- */

static void record_failure(struct convert *convert, int status,
                           const struct byre_error *error)
{
    pthread_mutex_lock(&convert->lock);
    if (convert->status == BYRE_OK) {
        convert->status = status;
        convert->error = *error;
    }
    atomic_store(&convert->failed, true);
    pthread_mutex_unlock(&convert->lock);
}

/* The next piece for a worker, unless somebody failed. */
static int next_piece(struct convert *convert, struct piece *ret_piece,
                      struct byre_error *err)
{
    int r;

    r = job_check_canceled(&convert->job, err);
    if (r < 0)
        return r;

    pthread_mutex_lock(&convert->lock);
    r = convert->status < 0 ? 0 : take_piece(convert, ret_piece, err);
    pthread_mutex_unlock(&convert->lock);
    return r;
}

static void copy_pieces(void *user)
{
    struct convert *convert = user;
    struct byre_error error;
    struct piece piece;
    void *buf;
    int r;

    /* One worker with a buffer does it all; convert_run() sees if none had. */
    if (posix_memalign(&buf, BUFFER_ALIGNMENT, PIECE_BYTES) != 0)
        return;

    for (;;) {
        r = next_piece(convert, &piece, &error);
        if (r <= 0)
            break;
        r = copy_piece(convert, &piece, buf, &error);
        if (r < 0)
            break;
        job_advance(&convert->job, piece.length);
        keep_rate(convert, &piece);
    }
    if (r < 0)
        record_failure(convert, r, &error);
    free(buf);
}

static int convert_run(struct byre_job *job, struct byre_error *err)
{
    struct convert *convert = convert_of(job);
    unsigned workers = convert->opts.workers;
    int r;

    r = target_open(convert->target_name, convert->opts.flags,
                    convert->total_bytes, convert->sources,
                    convert->source_count, &convert->job.canceled,
                    &convert->target, err);
    if (r < 0)
        return r;

    if (workers == 0)
        workers = workers_default_count();
    if (convert->target.pipe_fd >= 0)
        workers = 1;
    clock_gettime(CLOCK_MONOTONIC, &convert->started);
    workers_run(workers, copy_pieces, convert);

    r = convert->status;
    if (r == BYRE_OK && find_source(convert))
        r = fail_nomem(&convert->error, "a buffer", PIECE_BYTES);
    if (r == BYRE_OK && (convert->opts.flags & BYRE_CONVERT_NO_SYNC) == 0)
        r = target_sync(&convert->target, &convert->error);
    target_close(&convert->target, r < 0);
    if (r < 0 && err != NULL)
        *err = convert->error;
    return r;
}

/* ---- Making the job ---- */

static void convert_free(struct byre_job *job)
{
    struct convert *convert = convert_of(job);

    pthread_mutex_destroy(&convert->lock);
    free(convert->sources);
    free(convert->target_name);
    free(convert);
}

static const struct job_ops convert_ops = {
    .run = convert_run,
    .free = convert_free,
};

static int add_sizes(struct byre *const *sources, size_t count,
                     uint64_t *ret_total_bytes, struct byre_error *err)
{
    uint64_t total = 0;
    int r;

    for (size_t i = 0; i < count; i++) {
        r = check_disk_range(sources[i], 0, 0, err);
        if (r < 0)
            return r;
        if (add_overflow(total, sources[i]->engine->size_bytes, &total) ||
            total > STORE_MAX_OFFSET)
            return fail(err, BYRE_E_LIMIT,
                        "the disks have more than the limit of %" PRIu64
                        " bytes together",
                        STORE_MAX_OFFSET);
    }
    *ret_total_bytes = total;
    return BYRE_OK;
}

#define KNOWN_CONVERT_FLAGS                                                    \
    (BYRE_CONVERT_NO_CREATE | BYRE_CONVERT_TARGET_IS_ZERO |                    \
     BYRE_CONVERT_NO_SYNC | BYRE_CONVERT_SALVAGE | BYRE_CONVERT_DIRECT)

static int check_options(const struct byre_convert_options *given,
                         struct byre_convert_options *ret,
                         struct byre_error *err)
{
    const struct byre_convert_options defaults = BYRE_CONVERT_OPTIONS_INIT;
    int r;

    *ret = defaults;
    if (given != NULL) {
        r = sized_copy_in(given, sizeof(size_t), ret, sizeof(*ret),
                          "struct byre_convert_options", err);
        if (r < 0)
            return r;
    }
    if (ret->sparse_bytes == 0)
        ret->sparse_bytes = DEFAULT_SPARSE_BYTES;
    if (ret->sparse_bytes % ENGINE_SECTOR_BYTES != 0 &&
        ret->sparse_bytes != BYRE_SPARSE_NONE)
        return fail(err, BYRE_E_INVALID,
                    "sparse_bytes is %" PRIu64 ", no multiple of %d",
                    ret->sparse_bytes, ENGINE_SECTOR_BYTES);
    if (ret->flags & ~KNOWN_CONVERT_FLAGS)
        return fail(err, BYRE_E_INVALID, "unknown convert flags 0x%x",
                    ret->flags & ~KNOWN_CONVERT_FLAGS);
    return BYRE_OK;
}

int byre_convert(struct byre *const *sources, size_t source_count,
                 const char *target_name,
                 const struct byre_convert_options *opts,
                 struct byre_job **ret_job, struct byre_error *err)
{
    struct byre_convert_options known;
    struct convert *convert;
    uint64_t total_bytes = 0;
    int r;

    if (sources == NULL || source_count == 0 || target_name == NULL ||
        ret_job == NULL)
        return fail(err, BYRE_E_INVALID,
                    "convert needs sources, a target and room for the job");

    r = check_options(opts, &known, err);
    if (r < 0)
        return r;
    r = add_sizes(sources, source_count, &total_bytes, err);
    if (r < 0)
        return r;

    convert = calloc(1, sizeof(*convert));
    if (convert == NULL)
        return fail_nomem(err, "a job", sizeof(*convert));
    job_init(&convert->job, &convert_ops, total_bytes);
    pthread_mutex_init(&convert->lock, NULL);
    convert->opts = known;
    convert->total_bytes = total_bytes;
    convert->source_count = source_count;
    convert->sources = calloc(source_count, sizeof(sources[0]));
    convert->target_name = strdup(target_name);
    if (convert->sources == NULL || convert->target_name == NULL) {
        convert_free(&convert->job);
        return fail_nomem(err, "a job", source_count * sizeof(sources[0]));
    }
    memcpy(convert->sources, sources, source_count * sizeof(sources[0]));
    *ret_job = &convert->job;
    return BYRE_OK;
}
