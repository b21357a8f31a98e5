/* SPDX-License-Identifier: MIT */
/*
 * Rebase: puts an image on another backing file.
 *
 * What the image leaves to the old one, and the new one has not, is copied into
 * the image first; when that is durable the name changes.  Until then the disk
 * reads from the old one, with the same content whether a part was copied or
 * not; so a run that was interrupted is just begun again.
 *
 * Parts that both sides know to be zero, or read from one image that both
 * chains end in, are not looked at.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "job/pump.h"
#include "job/side.h"

#define PIECE_BYTES (UINT64_C(512) << 10)

/* Of a cluster with extended entries. */
#define SUBCLUSTERS 32

enum { OLD, NEW, SIDES };

struct rebase {
    struct byre_job job; /* first, so that the two convert */
    struct byre_rebase_options opts;
    struct byre_open_options backing_open;
    char *name;
    char *format;
    struct byre *img;
    struct new_backing backing;

    uint64_t cluster_bytes;
    uint64_t block_bytes; /* what is copied or not */
    uint64_t piece_bytes;
    bool has_zeroes; /* entries can say so */

    /* From these depths on the two chains are one. */
    uint32_t common[SIDES];
    struct side own;
    struct side sides[SIDES];
    uint64_t offset; /* the next to be looked at */
};

static struct rebase *rebase_of(struct byre_job *job)
{
    return (struct rebase *)job;
}

/* ---- What the chains share ---- */

static uint32_t chain_length(const struct byre *img)
{
    uint32_t length = 0;

    for (; img != NULL; img = img->backing)
        length++;
    return length;
}

static const struct byre *image_at(const struct byre *img, uint32_t depth)
{
    while (depth-- > 0)
        img = img->backing;
    return img;
}

/* Whatever is below an image that is the same must be so too. */
static void find_common(struct rebase *rebase)
{
    uint32_t lengths[SIDES], left;

    for (int i = 0; i < SIDES; i++) {
        lengths[i] = chain_length(rebase->sides[i].image);
        rebase->common[i] = lengths[i];
    }
    left = lengths[OLD] < lengths[NEW] ? lengths[OLD] : lengths[NEW];
    for (; left > 0; left--) {
        const struct byre *of_old =
            image_at(rebase->sides[OLD].image, rebase->common[OLD] - 1);
        const struct byre *of_new =
            image_at(rebase->sides[NEW].image, rebase->common[NEW] - 1);

        if (!image_is_same(of_old, of_new))
            break;
        rebase->common[OLD]--;
        rebase->common[NEW]--;
    }
}

static bool are_same(const struct rebase *rebase,
                     const struct side_range *of_old,
                     const struct side_range *of_new)
{
    if (of_old->zero && of_new->zero)
        return true;
    return of_old->depth != UINT32_MAX && of_new->depth != UINT32_MAX &&
           of_old->depth >= rebase->common[OLD] &&
           of_new->depth >= rebase->common[NEW];
}

/* ---- The walk ---- */

/* Whether what starts at the offset needs no look, and for how long. */
static int look(struct rebase *rebase, uint64_t offset, bool *ret_same,
                uint64_t *ret_length, struct byre_error *err)
{
    struct side_range own, ranges[SIDES];
    int r;

    r = side_find(&rebase->own, offset, &own, err);
    if (r < 0)
        return r;
    *ret_length = own.length;
    *ret_same = own.allocated;
    if (*ret_same)
        return BYRE_OK;

    for (int i = 0; i < SIDES; i++) {
        r = side_find(&rebase->sides[i], offset, &ranges[i], err);
        if (r < 0)
            return r;
        *ret_length = min_u64(*ret_length, ranges[i].length);
    }
    *ret_same = are_same(rebase, &ranges[OLD], &ranges[NEW]);
    return BYRE_OK;
}

/* The whole clusters of it; the last one of the disk may be short. */
static uint64_t whole_length(const struct rebase *rebase, uint64_t length)
{
    const uint64_t left = rebase->own.size_bytes - rebase->offset;

    return length >= left ? left : align_down(length, rebase->cluster_bytes);
}

/* Whole clusters too, so that no two workers are in one; a worker looks again
   at what of them is the image's own. */
static void cut_piece(struct rebase *rebase, uint64_t length,
                      struct piece *piece)
{
    const uint64_t start = rebase->offset;
    const uint64_t most =
        align_down(start, rebase->piece_bytes) + rebase->piece_bytes;
    uint64_t end = length < most - start ? start + max_u64(length, 1) : most;

    end = align_up(end, rebase->cluster_bytes);
    end = min_u64(min_u64(end, most), rebase->own.size_bytes);
    piece->kind = PIECE_DATA;
    piece->target_offset = start;
    piece->length = end - start;
    rebase->offset = end;
}

static int next_piece(void *user, struct piece *piece, struct byre_error *err)
{
    struct rebase *rebase = user;
    uint64_t length = 0;
    bool same;
    int r;

    if (rebase->offset >= rebase->own.size_bytes)
        return 0;
    r = look(rebase, rebase->offset, &same, &length, err);
    if (r < 0)
        return r;
    if (same)
        length = whole_length(rebase, length);
    if (!same || length == 0) {
        cut_piece(rebase, length, piece);
        return 1;
    }
    piece->kind = PIECE_LEFT;
    piece->target_offset = rebase->offset;
    piece->length = length;
    rebase->offset += length;
    return 1;
}

static bool is_free(void *user, const struct piece *piece)
{
    (void)user;
    return piece->kind == PIECE_LEFT;
}

/* ---- Finding what differs ---- */

static bool is_zero(const uint8_t *buf, size_t length)
{
    return buf[0] == 0 && memcmp(buf, buf + 1, length - 1) == 0;
}

static int read_side(const struct side *side, uint64_t offset, uint8_t *buf,
                     size_t length, struct byre_error *err)
{
    if (side->image == NULL) {
        memset(buf, 0, length);
        return BYRE_OK;
    }
    return image_read_past_end(side->image, offset, buf, length, err);
}

/* A worker's look at one piece. */
struct search {
    const struct rebase *rebase;
    const struct piece *piece;
    uint8_t *bufs[SIDES]; /* of the whole piece each */
    size_t found;         /* segments of the piece, to be written */
};

static void add_block(struct search *search, uint64_t offset, size_t length)
{
    const uint8_t *bytes =
        search->bufs[OLD] + (offset - search->piece->target_offset);
    struct segment *last = search->piece->segments + search->found - 1;
    const enum piece_kind kind =
        search->rebase->has_zeroes && is_zero(bytes, length) ? PIECE_ZERO
                                                             : PIECE_DATA;

    if (search->found > 0 && last->kind == kind &&
        last->source_offset + last->length == offset) {
        last->length += length;
        return;
    }
    search->piece->segments[search->found++] = (struct segment){
        .source_offset = offset,
        .length = length,
        .kind = kind,
    };
}

static int compare_range(struct search *search, uint64_t offset,
                         uint64_t length, struct byre_error *err)
{
    const struct rebase *rebase = search->rebase;
    const size_t at = (size_t)(offset - search->piece->target_offset);
    const uint64_t block = rebase->block_bytes;
    size_t n;
    int r;

    for (int i = 0; i < SIDES; i++) {
        r = read_side(&rebase->sides[i], offset, search->bufs[i] + at,
                      (size_t)length, err);
        if (r < 0)
            return r;
    }
    for (size_t done = 0; done < length; done += n) {
        n = (size_t)min_u64(length - done, block - (offset + done) % block);
        if (memcmp(search->bufs[OLD] + at + done, search->bufs[NEW] + at + done,
                   n) != 0)
            add_block(search, offset + done, n);
    }
    return BYRE_OK;
}

static int find_differences(struct search *search, struct byre_error *err)
{
    const struct piece *piece = search->piece;
    const uint64_t end = piece->target_offset + piece->length;
    struct side own;
    int r = BYRE_OK;

    side_init(&own, search->rebase->img, BYRE_EXTENTS_SHALLOW);
    for (uint64_t offset = piece->target_offset;
         offset < end && r == BYRE_OK;) {
        struct side_range range;
        uint64_t n;

        r = side_find(&own, offset, &range, err);
        if (r < 0)
            return r;
        n = min_u64(range.length, end - offset);
        if (!range.allocated)
            r = compare_range(search, offset, n, err);
        offset += n;
    }
    return r;
}

/* ---- Copying ---- */

static int write_plain(const struct rebase *rebase,
                       const struct segment *segment, const uint8_t *bytes,
                       struct turn *turn, bool held, struct byre_error *err)
{
    if (segment->kind == PIECE_ZERO) {
        turn_wait(turn);
        return byre_zero(rebase->img, segment->source_offset, segment->length,
                         0, err);
    }
    return image_write(rebase->img, segment->source_offset, bytes,
                       (size_t)segment->length, 0, turn_order(turn, held), err);
}

static bool may_compress(const struct rebase *rebase,
                         const struct segment *segment)
{
    const uint64_t end = segment->source_offset + segment->length;

    return (rebase->opts.flags & BYRE_REBASE_COMPRESS) != 0 &&
           segment->kind == PIECE_DATA &&
           is_aligned(segment->source_offset, rebase->cluster_bytes) &&
           (is_aligned(end, rebase->cluster_bytes) ||
            end == rebase->own.size_bytes);
}

/* A cluster for which space is reserved cannot be compressed. */
static int write_segment(const struct rebase *rebase,
                         const struct segment *segment, const uint8_t *bytes,
                         struct turn *turn, bool held, struct byre_error *err)
{
    int r = BYRE_E_STATE;

    if (may_compress(rebase, segment))
        r = image_write(rebase->img, segment->source_offset, bytes,
                        (size_t)segment->length, BYRE_WRITE_COMPRESSED,
                        turn_order(turn, true), err);
    return r == BYRE_E_STATE
               ? write_plain(rebase, segment, bytes, turn, held, err)
               : r;
}

static int copy_piece(void *user, const struct piece *piece, uint8_t *buf,
                      struct turn *turn, struct byre_error *err)
{
    const struct rebase *rebase = user;
    struct search search = {
        .rebase = rebase,
        .piece = piece,
        .bufs = { buf, buf + rebase->piece_bytes },
    };
    int r;

    r = find_differences(&search, err);
    for (size_t i = 0; i < search.found && r == BYRE_OK; i++) {
        const struct segment *segment = &piece->segments[i];

        r = write_segment(rebase, segment,
                          buf + (segment->source_offset - piece->target_offset),
                          turn, i + 1 < search.found, err);
    }
    return r;
}

/* ---- All of it ---- */

static int choose_sizes(struct rebase *rebase, struct byre_error *err)
{
    const bool compress = (rebase->opts.flags & BYRE_REBASE_COMPRESS) != 0;
    struct byre_info info = BYRE_INFO_INIT;
    int r;

    r = byre_get_info(rebase->img, &info, err);
    if (r < 0)
        return r;
    rebase->cluster_bytes = engine_cluster_bytes(rebase->img->engine);
    rebase->block_bytes = rebase->cluster_bytes;
    if ((info.flags & BYRE_INFO_EXTENDED_L2) != 0 && !compress)
        rebase->block_bytes /= SUBCLUSTERS;
    rebase->piece_bytes = compress
                              ? rebase->cluster_bytes
                              : max_u64(PIECE_BYTES, rebase->cluster_bytes);
    rebase->has_zeroes = info.version >= 3;
    return BYRE_OK;
}

static int copy_all(struct rebase *rebase, struct byre_error *err)
{
    static const struct pump_ops ops = { next_piece, is_free, copy_piece };
    struct pump pump = {
        .job = &rebase->job,
        .ops = &ops,
        .user = rebase,
        .workers = rebase->opts.workers,
        .ordered = true,
    };
    int r;

    r = choose_sizes(rebase, err);
    if (r < 0)
        return r;
    side_init(&rebase->own, rebase->img, BYRE_EXTENTS_SHALLOW);
    side_init(&rebase->sides[OLD], rebase->img->backing, 0);
    side_init(&rebase->sides[NEW], rebase->backing.image, 0);
    find_common(rebase);
    pump.buffer_bytes = (size_t)rebase->piece_bytes * SIDES;
    pump.most_segments =
        (size_t)(rebase->piece_bytes / (rebase->cluster_bytes / SUBCLUSTERS));
    return pump_run(&pump, err);
}

/* What stood on nothing is to hide the new backing file with zeroes. */
static int copy_from_old(struct rebase *rebase, struct byre_error *err)
{
    const bool on_nothing = rebase->img->backing == NULL;
    int r;

    if (on_nothing)
        image_stand_on_zeroes(rebase->img, true);
    r = copy_all(rebase, err);
    if (on_nothing)
        image_stand_on_zeroes(rebase->img, false);
    return r;
}

static int rebase_run(struct byre_job *job, struct byre_error *err)
{
    struct rebase *rebase = rebase_of(job);
    const bool safe = (rebase->opts.flags & BYRE_REBASE_UNSAFE) == 0;
    int r = BYRE_OK;

    if (safe && rebase->name != NULL)
        r = new_backing_open(rebase->img, rebase->name, rebase->format,
                             rebase->opts.backing_open, &rebase->backing, err);
    if (r == BYRE_OK && safe)
        r = copy_from_old(rebase, err);
    if (r == BYRE_OK)
        r = image_switch_backing(rebase->img, rebase->name, rebase->format,
                                 &rebase->backing, err);
    if (r < 0) {
        new_backing_close(&rebase->backing);
        error_prefix(err, "%s", rebase->img->name);
    } else {
        job_complete(job);
    }
    return r;
}

/* ---- Making the job ---- */

static void rebase_free(struct byre_job *job)
{
    struct rebase *rebase = rebase_of(job);

    free(rebase->name);
    free(rebase->format);
    free(rebase);
}

static const struct job_ops rebase_ops = {
    .run = rebase_run,
    .free = rebase_free,
};

static int check_image(const struct rebase *rebase, struct byre_error *err)
{
    const struct byre *img = rebase->img;
    int r;

    r = check_disk_range(img, 0, 0, err);
    if (r < 0)
        return r;
    if (img->engine->ops->set_backing_name == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s: a %s disk has no backing file", img->name,
                    img->engine->format);
    if (!img->engine->writable)
        return fail(err, BYRE_E_STATE, "%s: the image is open for reading only",
                    img->name);
    if (img->backing == NULL && img->engine->backing_name != NULL &&
        (rebase->opts.flags & BYRE_REBASE_UNSAFE) == 0)
        return fail(err, BYRE_E_STATE,
                    "%s: the image was opened without its backing file '%s', "
                    "whose content is needed",
                    img->name, img->engine->backing_name);
    return BYRE_OK;
}

static int check_options(const struct rebase *rebase, struct byre_error *err)
{
    const struct byre_rebase_options *opts = &rebase->opts;
    const uint32_t known = BYRE_REBASE_UNSAFE | BYRE_REBASE_COMPRESS;

    if (opts->flags & ~known)
        return fail(err, BYRE_E_INVALID, "unknown rebase flags 0x%x",
                    opts->flags & ~known);
    if (opts->backing_name != NULL && opts->backing_name[0] == '\0')
        return fail(err, BYRE_E_INVALID,
                    "the name of the backing file is "
                    "empty; NULL stands for none");
    if (opts->backing_name != NULL && opts->backing_format == NULL)
        return fail(err, BYRE_E_INVALID,
                    "the format of the backing file '%s' is required",
                    opts->backing_name);
    return BYRE_OK;
}

static int take_options(struct rebase *rebase,
                        const struct byre_rebase_options *given,
                        struct byre_error *err)
{
    const struct byre_rebase_options defaults = BYRE_REBASE_OPTIONS_INIT;
    struct byre_rebase_options *opts = &rebase->opts;
    int r = BYRE_OK;

    *opts = defaults;
    if (given != NULL)
        r = sized_copy_in(given, sizeof(size_t), opts, sizeof(*opts),
                          "struct byre_rebase_options", err);
    if (r == BYRE_OK && opts->backing_open != NULL) {
        r = sized_copy_in(opts->backing_open, sizeof(size_t),
                          &rebase->backing_open, sizeof(rebase->backing_open),
                          "struct byre_open_options", err);
        opts->backing_open = &rebase->backing_open;
    }
    if (r == BYRE_OK)
        r = check_options(rebase, err);
    if (r < 0 || opts->backing_name == NULL)
        return r;
    r = engine_copy_string(opts->backing_name, strlen(opts->backing_name),
                           &rebase->name, err);
    if (r == BYRE_OK)
        r = engine_copy_string(opts->backing_format,
                               strlen(opts->backing_format), &rebase->format,
                               err);
    return r;
}

int byre_rebase(struct byre *img, const struct byre_rebase_options *opts,
                struct byre_job **ret_job, struct byre_error *err)
{
    struct rebase *rebase;
    int r;

    if (ret_job == NULL)
        return fail(err, BYRE_E_INVALID, "room for the job is required");
    rebase = calloc(1, sizeof(*rebase));
    if (rebase == NULL)
        return fail_nomem(err, "a job", sizeof(*rebase));

    rebase->img = img;
    r = take_options(rebase, opts, err);
    if (r == BYRE_OK)
        r = check_image(rebase, err);
    if (r < 0) {
        rebase_free(&rebase->job);
        return r;
    }
    job_init(&rebase->job, &rebase_ops, img->engine->size_bytes);
    *ret_job = &rebase->job;
    return BYRE_OK;
}
