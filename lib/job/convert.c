/* SPDX-License-Identifier: MIT */
/*
 * Convert: copies disks into a new image, or a raw target.
 *
 * One walk over the sources' extents, under a lock, hands out pieces; workers
 * read and write them side by side.  A piece is read into a buffer that stays
 * in the processor's cache, so that looking for zeroes in it and writing it are
 * cheap.  A pipe has one worker: its bytes go out in order.
 *
 * The target is the same for any number of workers.  In a raw one the place of
 * a byte does not depend on who writes it.  In an image it does: there each
 * piece that takes places gets a number, and places are taken in the order of
 * the numbers, which is that of the disk; reading, compressing and the transfer
 * itself go side by side.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "job/convert_bitmaps.h"
#include "job/convert_check.h"
#include "job/job.h"
#include "job/pump.h"
#include "job/split.h"
#include "job/target.h"

#define PIECE_BYTES (UINT64_C(512) << 10)
/* A piece that has to show long runs of zeroes is longer, up to this. */
#define MOST_PIECE_BYTES (UINT64_C(16) << 20)

struct convert {
    struct byre_job job; /* first, so that the two convert */
    struct convert_options opts;
    struct byre **sources;
    size_t source_count;
    char *target_name;
    uint64_t total_bytes;
    struct target target;
    uint64_t block_bytes; /* of the target */
    struct walk walk;
    pthread_mutex_t lock; /* of telling what was salvaged */
};

static struct convert *convert_of(struct byre_job *job)
{
    return (struct convert *)job;
}

static bool has_flag(const struct convert *convert, uint32_t flag)
{
    return (convert->opts.job.flags & flag) != 0;
}

/* ---- The walk ---- */

static bool has_backing(const struct convert *convert)
{
    return convert->opts.job.create != NULL &&
           convert->opts.job.create->backing_name != NULL;
}

/* From where on zeroes are in the target already. */
static uint64_t zeroes_are_free_from(const struct convert *convert)
{
    if (convert->target.reads_zero &&
        convert->opts.job.sparse_bytes != BYRE_SPARSE_NONE)
        return 0;
    return convert->target.backing_bytes;
}

static uint64_t piece_bytes(const struct convert *convert)
{
    const uint64_t unit = target_unit_bytes(&convert->target);
    uint64_t bytes = PIECE_BYTES;

    /* Each is compressed by itself; together they would wait in one turn. */
    if (convert->target.compress)
        return unit;
    if (unit > 1 && convert->opts.job.sparse_bytes != BYRE_SPARSE_NONE) {
        while (bytes < convert->opts.job.sparse_bytes &&
               bytes < MOST_PIECE_BYTES)
            bytes *= 2;
    }
    return max_u64(bytes, unit);
}

static void start_walk(struct convert *convert)
{
    const struct byre_convert_options *job = &convert->opts.job;
    const struct walk_rules rules = {
        .unit_bytes = target_unit_bytes(&convert->target),
        .piece_bytes = piece_bytes(convert),
        .free_from = zeroes_are_free_from(convert),
        .shallow = has_backing(convert) && job->bitmap == NULL,
        .bitmap = job->bitmap,
        .zeroes_are_data = convert->target.image != NULL &&
                           job->sparse_bytes == BYRE_SPARSE_NONE,
        .whole_units = convert->target.compress,
        .salvage = has_flag(convert, BYRE_CONVERT_SALVAGE),
        .salvaged = job->salvaged,
        .user = job->user,
    };

    convert->block_bytes = target_block_bytes(&convert->target);
    walk_init(&convert->walk, convert->sources, convert->source_count,
              convert->total_bytes, &rules);
}

/* ---- Reading a piece ---- */

/* A cluster that cannot be decoded is lost whole; else it is one sector. */
static uint64_t lost_bytes(const struct segment *segment, uint64_t done,
                           int status)
{
    const struct engine *engine = segment->source->engine;
    uint64_t unit = ENGINE_SECTOR_BYTES;

    if (status == BYRE_E_CORRUPT && engine->cluster_bits != 0)
        unit = engine_cluster_bytes(engine);
    return min_u64(segment->length - done,
                   unit - (segment->source_offset + done) % unit);
}

static void tell_salvaged(struct convert *convert, uint64_t offset,
                          uint64_t length, const struct byre_error *why)
{
    const struct byre_convert_options *job = &convert->opts.job;

    pthread_mutex_lock(&convert->lock);
    if (job->salvaged != NULL)
        job->salvaged(job->user, offset, length, why);
    pthread_mutex_unlock(&convert->lock);
}

/* Reads sector by sector where the whole fails, and zeroes what does not read.
 */
static int salvage_segment(struct convert *convert,
                           const struct segment *segment,
                           uint64_t target_offset, uint8_t *buf,
                           struct byre_error *err)
{
    uint64_t n;

    for (uint64_t done = 0; done < segment->length; done += n) {
        int r;

        n = min_u64(segment->length - done, ENGINE_SECTOR_BYTES);
        r = byre_read(segment->source, segment->source_offset + done,
                      buf + done, (size_t)n, err);
        if (r < 0 && !walk_is_damage(r))
            return r;
        if (r < 0) {
            n = lost_bytes(segment, done, r);
            memset(buf + done, 0, (size_t)n);
            tell_salvaged(convert, target_offset + done, n, err);
        }
    }
    return BYRE_OK;
}

static int read_segment(struct convert *convert, const struct segment *segment,
                        uint64_t target_offset, uint8_t *buf,
                        struct byre_error *err)
{
    int r;

    if (segment->kind != PIECE_DATA) {
        memset(buf, 0, (size_t)segment->length);
        return BYRE_OK;
    }
    r = byre_read(segment->source, segment->source_offset, buf,
                  (size_t)segment->length, err);
    if (walk_is_damage(r) && has_flag(convert, BYRE_CONVERT_SALVAGE))
        r = salvage_segment(convert, segment, target_offset, buf, err);
    return r;
}

static int read_piece(struct convert *convert, const struct piece *piece,
                      uint8_t *buf, struct byre_error *err)
{
    uint64_t done = 0;

    for (size_t i = 0; i < piece->segment_count; i++) {
        int r;

        r = read_segment(convert, &piece->segments[i],
                         piece->target_offset + done, buf + done, err);
        if (r < 0)
            return r;
        done += piece->segments[i].length;
    }
    return BYRE_OK;
}

/* ---- Writing a piece ---- */

static struct split_rules split_rules(const struct convert *convert,
                                      const struct piece *piece)
{
    const uint64_t sparse = convert->opts.job.sparse_bytes;
    struct split_rules rules = {
        .block_bytes = convert->block_bytes > 1 ? convert->block_bytes : sparse,
        .free_from = zeroes_are_free_from(convert),
    };

    if (sparse == BYRE_SPARSE_NONE || convert->target.pipe_fd >= 0)
        rules.block_bytes = 0;
    if (convert->block_bytes > 1 && !convert->target.compress)
        rules.shortest_zero = min_u64(sparse, piece->length);
    return rules;
}

static int write_run(struct convert *convert, const struct piece *piece,
                     const uint8_t *buf, const struct run *run,
                     struct turn *turn, bool held, struct byre_error *err)
{
    const uint64_t offset = piece->target_offset + run->start;

    if (run->zero)
        return target_zero(&convert->target, offset, run->length, true, turn,
                           err);
    return target_write(&convert->target, offset, buf + run->start, run->length,
                        turn, held, err);
}

/* The turn is passed in the last run, as soon as its places are taken. */
static int write_piece(struct convert *convert, const struct piece *piece,
                       const uint8_t *buf, struct turn *turn,
                       struct byre_error *err)
{
    const struct split_rules rules = split_rules(convert, piece);
    struct split split;
    struct run run, next;
    bool more;
    int r;

    split_begin(&split, &rules, piece, buf);
    for (more = split_next(&split, &run); more; run = next) {
        more = split_next(&split, &next);
        r = write_run(convert, piece, buf, &run, turn, more, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/* ---- A piece ---- */

static bool is_free(void *user, const struct piece *piece)
{
    const struct convert *convert = user;

    return piece->kind == PIECE_LEFT ||
           (piece->kind == PIECE_ZERO &&
            piece->target_offset >= zeroes_are_free_from(convert));
}

static int next_piece(void *user, struct piece *piece, struct byre_error *err)
{
    struct convert *convert = user;

    return walk_next(&convert->walk, piece, err);
}

static int copy_piece(void *user, const struct piece *piece, uint8_t *buf,
                      struct turn *turn, struct byre_error *err)
{
    struct convert *convert = user;
    int r;

    if (piece->kind == PIECE_ZERO)
        return target_zero(
            &convert->target, piece->target_offset, piece->length,
            convert->opts.job.sparse_bytes != BYRE_SPARSE_NONE, turn, err);

    r = read_piece(convert, piece, buf, err);
    if (r < 0)
        return r;
    return write_piece(convert, piece, buf, turn, err);
}

/* ---- All of it ---- */

static int copy_all(struct convert *convert, struct byre_error *err)
{
    static const struct pump_ops ops = { next_piece, is_free, copy_piece };
    struct pump pump = {
        .job = &convert->job,
        .ops = &ops,
        .user = convert,
        .workers = convert->target.pipe_fd >= 0 ? 1 : convert->opts.job.workers,
        .ordered = convert->target.image != NULL,
        .rate_bytes_per_second = convert->opts.job.rate_bytes_per_second,
    };
    int r;

    start_walk(convert);
    pump.buffer_bytes = (size_t)convert->walk.rules.piece_bytes;
    pump.most_segments = walk_most_segments(&convert->walk);
    r = pump_run(&pump, err);
    if (r == BYRE_OK)
        r = convert_bitmaps_copy(convert->sources[0], convert->target.image,
                                 convert->opts.job.flags, err);
    if (r == BYRE_OK)
        r = target_finish(&convert->target,
                          !has_flag(convert, BYRE_CONVERT_NO_SYNC), err);
    return r;
}

static int convert_run(struct byre_job *job, struct byre_error *err)
{
    struct convert *convert = convert_of(job);
    const struct target_request request = {
        .name = convert->target_name,
        .flags = convert->opts.job.flags,
        .size_bytes = convert->total_bytes,
        .create = convert->opts.job.create,
        .open = convert->opts.job.target_open,
        .sources = convert->sources,
        .source_count = convert->source_count,
        .canceled = &convert->job.canceled,
    };
    int r, closed;

    r = convert_bitmaps_check(convert->sources[0], convert->opts.job.flags,
                              convert->opts.job.bitmap, err);
    if (r < 0)
        return r;
    r = target_open(&request, &convert->target, err);
    if (r < 0)
        return r;

    r = copy_all(convert, err);
    closed = target_close(&convert->target, r < 0, r < 0 ? NULL : err);
    return r < 0 ? r : closed;
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

/* With the options and the size set: copies the rest. */
static int fill_job(struct convert *convert, struct byre *const *sources,
                    size_t source_count, const char *target_name,
                    struct byre_error *err)
{
    job_init(&convert->job, &convert_ops, convert->total_bytes);
    pthread_mutex_init(&convert->lock, NULL);
    convert->source_count = source_count;
    convert->sources = calloc(source_count, sizeof(struct byre *));
    convert->target_name = strdup(target_name);
    if (convert->sources == NULL || convert->target_name == NULL)
        return fail_nomem(err, "a job", source_count * sizeof(struct byre *));
    memcpy(convert->sources, sources, source_count * sizeof(struct byre *));
    return BYRE_OK;
}

int byre_convert(struct byre *const *sources, size_t source_count,
                 const char *target_name,
                 const struct byre_convert_options *opts,
                 struct byre_job **ret_job, struct byre_error *err)
{
    struct convert *convert;
    int r;

    if (sources == NULL || source_count == 0 || target_name == NULL ||
        ret_job == NULL)
        return fail(err, BYRE_E_INVALID,
                    "convert needs sources, a target and room for the job");

    convert = calloc(1, sizeof(*convert));
    if (convert == NULL)
        return fail_nomem(err, "a job", sizeof(*convert));

    r = convert_check(opts, source_count, &convert->opts, err);
    if (r == BYRE_OK)
        r = add_sizes(sources, source_count, &convert->total_bytes, err);
    if (r < 0) {
        free(convert);
        return r;
    }
    r = fill_job(convert, sources, source_count, target_name, err);
    if (r < 0) {
        convert_free(&convert->job);
        return r;
    }
    *ret_job = &convert->job;
    return BYRE_OK;
}
