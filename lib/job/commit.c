/* SPDX-License-Identifier: MIT */
/*
 * Commit: writes what an image, and those between it and its base, hold into
 * the base; then empties the image.
 *
 * The disk reads the same at every moment.  While the base changes the image
 * hides what changes; the base grows before anything is written, with zeroes,
 * which is what lies past its end anyhow; and the image is emptied only when
 * the base is durable, which then holds the same.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "image/image.h"
#include "job/pump.h"
#include "job/split.h"

#define PIECE_BYTES (UINT64_C(512) << 10)

struct commit {
    struct byre_job job; /* first, so that the two convert */
    struct byre_commit_options opts;
    struct byre *img;
    struct byre *base;
    uint32_t base_depth;
    struct walk walk;
};

static struct commit *commit_of(struct byre_job *job)
{
    return (struct commit *)job;
}

/* ---- Pieces ---- */

static int next_piece(void *user, struct piece *piece, struct byre_error *err)
{
    struct commit *commit = user;

    return walk_next(&commit->walk, piece, err);
}

static bool is_free(void *user, const struct piece *piece)
{
    (void)user;
    return piece->kind == PIECE_LEFT;
}

/* What is left in between is not read, nor written. */
static int read_piece(const struct piece *piece, uint8_t *buf,
                      struct byre_error *err)
{
    for (size_t i = 0; i < piece->segment_count; i++) {
        const struct segment *segment = &piece->segments[i];
        int r = BYRE_OK;

        if (segment->kind != PIECE_LEFT)
            r = byre_read(segment->source, segment->source_offset, buf,
                          (size_t)segment->length, err);
        if (r < 0)
            return r;
        buf += segment->length;
    }
    return BYRE_OK;
}

/* The turn is passed in the last run, as soon as its places are taken. */
static int write_piece(struct commit *commit, const struct piece *piece,
                       const uint8_t *buf, struct turn *turn,
                       struct byre_error *err)
{
    const struct split_rules rules = { .block_bytes = 0 };
    struct split split;
    struct run run, next;
    bool more;
    int r;

    split_begin(&split, &rules, piece, buf);
    for (more = split_next(&split, &run); more; run = next) {
        more = split_next(&split, &next);
        r = image_write(commit->base, piece->target_offset + run.start,
                        buf + run.start, run.length, 0, turn_order(turn, more),
                        err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int copy_piece(void *user, const struct piece *piece, uint8_t *buf,
                      struct turn *turn, struct byre_error *err)
{
    struct commit *commit = user;
    int r;

    if (piece->kind == PIECE_ZERO) {
        turn_wait(turn);
        return byre_zero(commit->base, piece->target_offset, piece->length,
                         BYRE_WRITE_MAY_UNMAP, err);
    }
    r = read_piece(piece, buf, err);
    return r < 0 ? r : write_piece(commit, piece, buf, turn, err);
}

static void start_walk(struct commit *commit, uint64_t base_bytes)
{
    const struct engine *base = commit->base->engine;
    const uint64_t unit =
        base->cluster_bits != 0 ? engine_cluster_bytes(base) : 1;
    const bool shallow = commit->base_depth == 1;
    const struct walk_rules rules = {
        .unit_bytes = unit,
        .piece_bytes = max_u64(PIECE_BYTES, unit),
        .free_from = BYRE_NO_OFFSET,
        .shallow = shallow,
        .left_depth = shallow ? 0 : commit->base_depth,
        .left_bytes = base_bytes,
    };

    walk_init(&commit->walk, &commit->img, 1, commit->img->engine->size_bytes,
              &rules);
}

static int copy_all(struct commit *commit, uint64_t base_bytes,
                    struct byre_error *err)
{
    static const struct pump_ops ops = { next_piece, is_free, copy_piece };
    struct pump pump = {
        .job = &commit->job,
        .ops = &ops,
        .user = commit,
        .workers = commit->opts.workers,
        .ordered = commit->base->engine->cluster_bits != 0,
        .rate_bytes_per_second = commit->opts.rate_bytes_per_second,
    };

    start_walk(commit, base_bytes);
    pump.buffer_bytes = (size_t)commit->walk.rules.piece_bytes;
    pump.most_segments = walk_most_segments(&commit->walk);
    return pump_run(&pump, err);
}

/* ---- The base ---- */

/* With the base open for writing. */
static int write_base(struct commit *commit, struct byre_error *err)
{
    const uint64_t disk_bytes = commit->img->engine->size_bytes;
    const uint64_t base_bytes = commit->base->engine->size_bytes;
    int r = BYRE_OK;

    if (disk_bytes > base_bytes)
        r = byre_resize(commit->base, disk_bytes, 0, BYRE_PREALLOCATION_OFF,
                        err);
    if (r == BYRE_OK)
        r = copy_all(commit, base_bytes, err);
    return r == BYRE_OK ? byre_flush(commit->base, err) : r;
}

static int commit_to_base(struct commit *commit, struct byre_error *err)
{
    const bool was_writable = commit->base->engine->writable;
    int r, ended = BYRE_OK;

    if (!was_writable) {
        r = byre_reopen(commit->base, BYRE_OPEN_WRITE, err);
        if (r < 0)
            return r;
    }
    r = write_base(commit, err);
    if (!was_writable)
        ended = byre_reopen(commit->base, 0, r < 0 ? NULL : err);
    return r < 0 ? r : ended;
}

static int advance(void *user, uint64_t done, uint64_t total,
                   struct byre_error *err)
{
    (void)done;
    (void)total;
    return job_check_canceled(user, err);
}

static int commit_run(struct byre_job *job, struct byre_error *err)
{
    struct commit *commit = commit_of(job);
    const struct engine_progress progress = { job, advance };
    int r;

    r = commit_to_base(commit, err);
    if (r < 0 || (commit->opts.flags & BYRE_COMMIT_KEEP) != 0)
        return r;
    return image_empty(commit->img, &progress, err);
}

/* ---- Making the job ---- */

static void commit_free(struct byre_job *job)
{
    free(commit_of(job));
}

static const struct job_ops commit_ops = {
    .run = commit_run,
    .free = commit_free,
};

static int find_base(struct commit *commit, struct byre_error *err)
{
    struct byre *img = commit->img;

    if (img->backing == NULL)
        return fail(err, BYRE_E_STATE, "%s: it stands on no image to commit to",
                    img->name);
    commit->base = commit->opts.base != NULL ? commit->opts.base : img->backing;
    while (img != NULL && (img != commit->base || img == commit->img)) {
        img = img->backing;
        commit->base_depth++;
    }
    if (img == NULL)
        return fail(err, BYRE_E_INVALID,
                    "%s: the base is no image that it stands on",
                    commit->img->name);
    if (commit->base_depth > 1)
        commit->opts.flags |= BYRE_COMMIT_KEEP;
    return BYRE_OK;
}

static int check(struct commit *commit, struct byre_error *err)
{
    int r;

    if (commit->opts.flags & ~BYRE_COMMIT_KEEP)
        return fail(err, BYRE_E_INVALID, "unknown commit flags 0x%x",
                    commit->opts.flags & ~BYRE_COMMIT_KEEP);
    r = check_disk_range(commit->img, 0, 0, err);
    if (r == BYRE_OK)
        r = find_base(commit, err);
    if (r == BYRE_OK && (commit->opts.flags & BYRE_COMMIT_KEEP) == 0 &&
        !commit->img->engine->writable)
        r = fail(err, BYRE_E_STATE,
                 "%s: the image is open for reading only, and cannot be "
                 "emptied; keep it, or open it for writing",
                 commit->img->name);
    return r;
}

int byre_commit(struct byre *img, const struct byre_commit_options *opts,
                struct byre_job **ret_job, struct byre_error *err)
{
    const struct byre_commit_options defaults = BYRE_COMMIT_OPTIONS_INIT;
    struct commit *commit;
    int r = BYRE_OK;

    if (ret_job == NULL)
        return fail(err, BYRE_E_INVALID, "room for the job is required");
    commit = calloc(1, sizeof(*commit));
    if (commit == NULL)
        return fail_nomem(err, "a job", sizeof(*commit));

    commit->img = img;
    commit->opts = defaults;
    if (opts != NULL)
        r = sized_copy_in(opts, sizeof(size_t), &commit->opts,
                          sizeof(commit->opts), "struct byre_commit_options",
                          err);
    if (r == BYRE_OK)
        r = check(commit, err);
    if (r < 0) {
        free(commit);
        return r;
    }
    job_init(&commit->job, &commit_ops, img->engine->size_bytes);
    *ret_job = &commit->job;
    return BYRE_OK;
}
