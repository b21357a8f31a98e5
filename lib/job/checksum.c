/* SPDX-License-Identifier: MIT */
/*
 * Checksum: of the bytes of a disk, whatever holds them (docs/checksum.md).
 *
 * The disk is hashed in blocks by as many workers as there are; the digests of
 * the blocks go into one last hash in the order of the disk, each worker's in
 * its turn.  A block of zeroes has a digest that is known, and is not read
 * where the image knows that it is one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/workers.h"
#include "base/zeroes.h"
#include "crypto/hash.h"
#include "image/image.h"
#include "job/job.h"
#include "job/turns.h"
#include "job/walk.h"

/* Part of the algorithm: another size gives other checksums. */
#define BLOCK_BYTES UINT64_C(65536)

#define BLOCKS_PER_PIECE  8
#define PIECE_BYTES       (BLOCKS_PER_PIECE * BLOCK_BYTES)
#define ZERO_BATCH        1024
#define DEFAULT_ALGORITHM "sha256"

struct checksum {
    struct byre_job job; /* first, so that the two convert */
    struct byre *image;
    char *algorithm;
    unsigned workers;
    size_t digest_bytes;
    uint8_t *zero_digests; /* ZERO_BATCH times that of a block of zeroes */
    struct turns turns;
    struct hasher *root; /* whose turn it is */
    bool finished;
    uint8_t digest[HASH_MAX_BYTES];

    pthread_mutex_t lock;
    struct walk walk;     /* guarded by `lock`, as all below */
    uint64_t next_number; /* of a turn */
    int status;           /* the first failure, and its error */
    struct byre_error error;
};

/* What each worker has of its own. */
struct worker {
    struct checksum *checksum;
    struct hasher *hasher;
    uint8_t *buf; /* of PIECE_BYTES */
    struct piece piece;
    struct turn turn;
    uint8_t digests[BLOCKS_PER_PIECE * HASH_MAX_BYTES];
};

static struct checksum *checksum_of(struct byre_job *job)
{
    return (struct checksum *)job;
}

/* ---- A piece ---- */

static int read_piece(struct worker *worker, struct byre_error *err)
{
    const struct piece *piece = &worker->piece;
    uint8_t *to = worker->buf;

    for (size_t i = 0; i < piece->segment_count; i++) {
        const struct segment *segment = &piece->segments[i];
        const size_t length = (size_t)segment->length;
        int r = BYRE_OK;

        if (segment->kind == PIECE_DATA)
            r = byre_read(segment->source, segment->source_offset, to, length,
                          err);
        else
            memset(to, 0, length);
        if (r < 0)
            return r;
        to += length;
    }
    return BYRE_OK;
}

static int hash_block(struct worker *worker, const uint8_t *block,
                      size_t length, uint8_t *digest, struct byre_error *err)
{
    const struct checksum *checksum = worker->checksum;

    if (length == BLOCK_BYTES && zeroes_only(block, length)) {
        memcpy(digest, checksum->zero_digests, checksum->digest_bytes);
        return BYRE_OK;
    }
    return hasher_run(worker->hasher, NULL, 0, block, length, digest, err);
}

/* Hashes `length` bytes of the buffer, and adds the digests in turn. */
static int add_blocks(struct worker *worker, size_t length,
                      struct byre_error *err)
{
    struct checksum *checksum = worker->checksum;
    uint8_t *digest = worker->digests;

    for (size_t done = 0; done < length; done += BLOCK_BYTES) {
        int r;

        r = hash_block(worker, worker->buf + done,
                       (size_t)min_u64(length - done, BLOCK_BYTES), digest,
                       err);
        if (r < 0)
            return r;
        digest += checksum->digest_bytes;
    }
    turn_wait(&worker->turn);
    return hasher_add(checksum->root, worker->digests,
                      (size_t)(digest - worker->digests), err);
}

/* There may be any number of them; a short one at the end is hashed. */
static int add_zeroes(struct worker *worker, uint64_t length,
                      struct byre_error *err)
{
    struct checksum *checksum = worker->checksum;
    uint64_t blocks = length / BLOCK_BYTES;
    const size_t rest = (size_t)(length % BLOCK_BYTES);
    int r;

    turn_wait(&worker->turn);
    while (blocks > 0) {
        const uint64_t n = min_u64(blocks, ZERO_BATCH);

        r = job_check_canceled(&checksum->job, err);
        if (r == BYRE_OK)
            r = hasher_add(checksum->root, checksum->zero_digests,
                           (size_t)n * checksum->digest_bytes, err);
        if (r < 0)
            return r;
        job_advance(&checksum->job, n * BLOCK_BYTES);
        blocks -= n;
    }
    if (rest == 0)
        return BYRE_OK;
    memset(worker->buf, 0, rest);
    job_advance(&checksum->job, rest);
    return add_blocks(worker, rest, err);
}

static int add_piece(struct worker *worker, struct byre_error *err)
{
    const struct piece *piece = &worker->piece;
    int r;

    if (piece->kind != PIECE_DATA)
        return add_zeroes(worker, piece->length, err);
    r = read_piece(worker, err);
    if (r == BYRE_OK)
        r = add_blocks(worker, (size_t)piece->length, err);
    if (r == BYRE_OK)
        job_advance(&worker->checksum->job, piece->length);
    return r;
}

/* ---- The workers ---- */

static void record_failure(struct checksum *checksum, int status,
                           const struct byre_error *error)
{
    pthread_mutex_lock(&checksum->lock);
    if (checksum->status == BYRE_OK) {
        checksum->status = status;
        checksum->error = *error;
    }
    pthread_mutex_unlock(&checksum->lock);
}

/* The next piece and its turn: 1, or 0 at the end or where somebody failed. */
static int next_piece(struct worker *worker, struct byre_error *err)
{
    struct checksum *checksum = worker->checksum;
    int r;

    r = job_check_canceled(&checksum->job, err);
    if (r < 0)
        return r;

    pthread_mutex_lock(&checksum->lock);
    r = checksum->status < 0 ? 0
                             : walk_next(&checksum->walk, &worker->piece, err);
    if (r > 0)
        turn_begin(&worker->turn, &checksum->turns, checksum->next_number++);
    pthread_mutex_unlock(&checksum->lock);
    return r;
}

static int add_pieces(struct worker *worker, struct byre_error *err)
{
    int r;

    for (;;) {
        r = next_piece(worker, err);
        if (r <= 0)
            return r;
        r = add_piece(worker, err);
        if (r < 0)
            record_failure(worker->checksum, r, err);
        turn_end(&worker->turn);
        if (r < 0)
            return r;
    }
}

static int prepare_worker(struct worker *worker, struct byre_error *err)
{
    const size_t segments = walk_most_segments(&worker->checksum->walk);

    worker->buf = malloc(PIECE_BYTES);
    worker->piece.segments = calloc(segments, sizeof(struct segment));
    if (worker->buf == NULL || worker->piece.segments == NULL)
        return fail_nomem(err, "a buffer", PIECE_BYTES);
    return hasher_new(worker->checksum->algorithm, &worker->hasher, err);
}

/* One worker that has what it needs does it all; the end is looked at. */
static void work(void *user)
{
    struct worker worker = { .checksum = user };
    struct byre_error error;
    int r;

    if (prepare_worker(&worker, &error) == BYRE_OK) {
        r = add_pieces(&worker, &error);
        if (r < 0)
            record_failure(worker.checksum, r, &error);
    }
    hasher_free(worker.hasher);
    free(worker.piece.segments);
    free(worker.buf);
}

/* ---- The job ---- */

/* The digest of a block of zeroes, many times over. */
static int prepare_zeroes(struct checksum *checksum, struct byre_error *err)
{
    const size_t bytes = checksum->digest_bytes;
    uint8_t *block = calloc(1, BLOCK_BYTES);
    int r;

    checksum->zero_digests = malloc(ZERO_BATCH * bytes);
    if (block == NULL || checksum->zero_digests == NULL) {
        free(block);
        return fail_nomem(err, "a buffer", BLOCK_BYTES);
    }
    r = hash_run(checksum->algorithm, block, BLOCK_BYTES,
                 checksum->zero_digests, err);
    for (size_t i = 1; r == BYRE_OK && i < ZERO_BATCH; i++)
        memcpy(checksum->zero_digests + i * bytes, checksum->zero_digests,
               bytes);
    free(block);
    return r;
}

static int add_size(struct checksum *checksum, struct byre_error *err)
{
    uint8_t size[8];

    le64_put(size, checksum->walk.total_bytes);
    return hasher_add(checksum->root, size, sizeof(size), err);
}

static int run_workers(struct checksum *checksum, struct byre_error *err)
{
    const struct walk_rules rules = {
        .unit_bytes = BLOCK_BYTES,
        .piece_bytes = PIECE_BYTES,
    };

    walk_init(&checksum->walk, &checksum->image, 1,
              checksum->image->engine->size_bytes, &rules);
    workers_run(checksum->workers != 0 ? checksum->workers
                                       : workers_default_count(),
                work, checksum);
    if (checksum->status < 0) {
        if (err != NULL)
            *err = checksum->error;
        return checksum->status;
    }
    if (!walk_is_over(&checksum->walk))
        return fail_nomem(err, "a buffer", PIECE_BYTES);
    return BYRE_OK;
}

static int checksum_run(struct byre_job *job, struct byre_error *err)
{
    struct checksum *checksum = checksum_of(job);
    int r;

    r = job_check_canceled(job, err);
    if (r == BYRE_OK)
        r = prepare_zeroes(checksum, err);
    if (r == BYRE_OK)
        r = hasher_new(checksum->algorithm, &checksum->root, err);
    if (r == BYRE_OK)
        r = hasher_begin(checksum->root, err);
    if (r == BYRE_OK)
        r = run_workers(checksum, err);
    if (r == BYRE_OK)
        r = add_size(checksum, err);
    if (r == BYRE_OK)
        r = hasher_end(checksum->root, checksum->digest, err);
    checksum->finished = r == BYRE_OK;
    return r;
}

static void checksum_free(struct byre_job *job)
{
    struct checksum *checksum = checksum_of(job);

    pthread_mutex_destroy(&checksum->lock);
    turns_done(&checksum->turns);
    hasher_free(checksum->root);
    free(checksum->zero_digests);
    free(checksum->algorithm);
    free(checksum);
}

static const struct job_ops checksum_ops = {
    .run = checksum_run,
    .free = checksum_free,
};

static int check_options(const struct byre_checksum_options *given,
                         struct byre_checksum_options *ret,
                         size_t *ret_digest_bytes, struct byre_error *err)
{
    const struct byre_checksum_options defaults = BYRE_CHECKSUM_OPTIONS_INIT;
    struct byre_error why;
    int r;

    *ret = defaults;
    if (given != NULL) {
        r = sized_copy_in(given, sizeof(size_t), ret, sizeof(*ret),
                          "struct byre_checksum_options", err);
        if (r < 0)
            return r;
    }
    if (ret->algorithm == NULL)
        ret->algorithm = DEFAULT_ALGORITHM;
    if (hash_digest_bytes(ret->algorithm, ret_digest_bytes, &why) < 0)
        return fail(err, BYRE_E_INVALID, "%s", why.message);
    return BYRE_OK;
}

int byre_checksum(struct byre *img, const struct byre_checksum_options *opts,
                  struct byre_job **ret_job, struct byre_error *err)
{
    struct byre_checksum_options known;
    struct checksum *checksum;
    size_t digest_bytes;
    int r;

    if (ret_job == NULL)
        return fail(err, BYRE_E_INVALID, "room for the job is required");
    r = check_disk_range(img, 0, 0, err);
    if (r == BYRE_OK)
        r = check_options(opts, &known, &digest_bytes, err);
    if (r < 0)
        return r;

    checksum = calloc(1, sizeof(*checksum));
    if (checksum == NULL)
        return fail_nomem(err, "a job", sizeof(*checksum));
    job_init(&checksum->job, &checksum_ops, img->engine->size_bytes);
    pthread_mutex_init(&checksum->lock, NULL);
    turns_init(&checksum->turns);
    checksum->image = img;
    checksum->workers = known.workers;
    checksum->digest_bytes = digest_bytes;
    checksum->algorithm = strdup(known.algorithm);
    if (checksum->algorithm == NULL) {
        checksum_free(&checksum->job);
        return fail_nomem(err, "a job", sizeof(*checksum));
    }
    *ret_job = &checksum->job;
    return BYRE_OK;
}

int byre_checksum_get_result(const struct byre_job *job, uint8_t *ret_digest,
                             size_t *ret_bytes, struct byre_error *err)
{
    const struct checksum *checksum = (const struct checksum *)job;

    if (job == NULL || ret_digest == NULL || ret_bytes == NULL ||
        job->ops != &checksum_ops || !checksum->finished)
        return fail(err, BYRE_E_STATE, "this is no checksum job that has run");
    memcpy(ret_digest, checksum->digest, checksum->digest_bytes);
    *ret_bytes = checksum->digest_bytes;
    return BYRE_OK;
}
