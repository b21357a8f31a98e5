/* SPDX-License-Identifier: MIT */
/*
 * Compare: walks two disks side by side, skips what both know to be zero, and
 * reads the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "job/job.h"
#include "job/side.h"

#define PIECE_BYTES UINT64_C(524288)

struct compare {
    struct byre_job job; /* first, so that the two convert */
    uint32_t flags;
    struct side sides[2];
    uint8_t *bufs[2];
    bool finished;
    struct byre_compare_result result;
};

static struct compare *compare_of(struct byre_job *job)
{
    return (struct compare *)job;
}

static int read_side(const struct compare *compare, int i,
                     const struct side_range *range, uint64_t offset,
                     size_t length, struct byre_error *err)
{
    if (range->zero) {
        memset(compare->bufs[i], 0, length);
        return BYRE_OK;
    }
    return byre_read(compare->sides[i].image, offset, compare->bufs[i], length,
                     err);
}

static void find_difference(struct compare *compare, uint64_t offset,
                            size_t length)
{
    const uint8_t *a = compare->bufs[0], *b = compare->bufs[1];
    size_t i = 0;

    if (memcmp(a, b, length) == 0)
        return;
    while (a[i] == b[i])
        i++;
    compare->result.outcome = BYRE_COMPARE_CONTENT;
    compare->result.offset = align_down(offset + i, ENGINE_SECTOR_BYTES);
}

/* Notes at which step it failed: the exit codes of the tool tell them apart. */
static int fail_step(struct compare *compare, uint32_t step, uint64_t offset,
                     int status)
{
    compare->result.failed_step = step;
    compare->result.offset = offset;
    return status;
}

static int compare_data(struct compare *compare,
                        const struct side_range *ranges, uint64_t offset,
                        size_t length, struct byre_error *err)
{
    int r;

    r = read_side(compare, 0, &ranges[0], offset, length, err);
    if (r < 0)
        return fail_step(compare, BYRE_COMPARE_READ_FIRST, offset, r);

    r = read_side(compare, 1, &ranges[1], offset, length, err);
    if (r < 0)
        return fail_step(compare, BYRE_COMPARE_READ_SECOND, offset, r);

    find_difference(compare, offset, length);
    return BYRE_OK;
}

/* Compares what starts at `offset`, and tells how much that was. */
static int compare_range(struct compare *compare, uint64_t offset, uint64_t end,
                         uint64_t *ret_length, struct byre_error *err)
{
    struct side_range ranges[2];
    uint64_t length;
    int r;

    for (uint32_t i = 0; i < 2; i++) {
        r = side_find(&compare->sides[i], offset, &ranges[i], err);
        if (r < 0)
            return fail_step(compare, BYRE_COMPARE_MAP_FIRST + i, offset, r);
    }
    length = min_u64(min_u64(ranges[0].length, ranges[1].length), end - offset);

    if ((compare->flags & BYRE_COMPARE_STRICT) != 0 &&
        (ranges[0].allocated != ranges[1].allocated ||
         ranges[0].zero != ranges[1].zero)) {
        compare->result.outcome = BYRE_COMPARE_STATUS;
        compare->result.offset = align_down(offset, ENGINE_SECTOR_BYTES);
        return BYRE_OK;
    }

    if (!ranges[0].zero || !ranges[1].zero) {
        length = min_u64(length, PIECE_BYTES - offset % PIECE_BYTES);
        r = compare_data(compare, ranges, offset, (size_t)length, err);
        if (r < 0)
            return r;
    }
    *ret_length = length;
    return BYRE_OK;
}

static int compare_all(struct compare *compare, struct byre_error *err)
{
    const uint64_t end =
        max_u64(compare->sides[0].size_bytes, compare->sides[1].size_bytes);
    uint64_t length = 0;
    int r;

    if ((compare->flags & BYRE_COMPARE_STRICT) != 0 &&
        compare->sides[0].size_bytes != compare->sides[1].size_bytes) {
        compare->result.outcome = BYRE_COMPARE_SIZE;
        return BYRE_OK;
    }

    for (uint64_t offset = 0; offset < end; offset += length) {
        r = job_check_canceled(&compare->job, err);
        if (r < 0)
            return r;
        r = compare_range(compare, offset, end, &length, err);
        if (r < 0 || compare->result.outcome != BYRE_COMPARE_EQUAL)
            return r;
        job_advance(&compare->job, length);
    }
    return BYRE_OK;
}

static int compare_run(struct byre_job *job, struct byre_error *err)
{
    struct compare *compare = compare_of(job);
    int r;

    for (int i = 0; i < 2; i++) {
        compare->bufs[i] = malloc(PIECE_BYTES);
        if (compare->bufs[i] == NULL)
            return fail_nomem(err, "a buffer", PIECE_BYTES);
    }
    r = compare_all(compare, err);
    compare->finished = true;
    return r;
}

static void compare_free(struct byre_job *job)
{
    struct compare *compare = compare_of(job);

    free(compare->bufs[0]);
    free(compare->bufs[1]);
    free(compare);
}

static const struct job_ops compare_ops = {
    .run = compare_run,
    .free = compare_free,
};

int byre_compare(struct byre *first, struct byre *second, uint32_t flags,
                 struct byre_job **ret_job, struct byre_error *err)
{
    struct byre *const images[2] = { first, second };
    struct compare *compare;
    int r;

    if (ret_job == NULL || (flags & ~BYRE_COMPARE_STRICT) != 0)
        return fail(err, BYRE_E_INVALID,
                    "compare needs room for the job, and flags that are known");
    for (int i = 0; i < 2; i++) {
        r = check_disk_range(images[i], 0, 0, err);
        if (r < 0)
            return r;
    }

    compare = calloc(1, sizeof(*compare));
    if (compare == NULL)
        return fail_nomem(err, "a job", sizeof(*compare));

    job_init(&compare->job, &compare_ops,
             max_u64(first->engine->size_bytes, second->engine->size_bytes));
    compare->flags = flags;
    for (int i = 0; i < 2; i++)
        side_init(&compare->sides[i], images[i], 0);
    *ret_job = &compare->job;
    return BYRE_OK;
}

int byre_compare_get_result(const struct byre_job *job,
                            struct byre_compare_result *ret_result,
                            struct byre_error *err)
{
    const struct compare *compare = (const struct compare *)job;

    if (job == NULL || ret_result == NULL || job->ops != &compare_ops ||
        !compare->finished)
        return fail(err, BYRE_E_STATE, "this is no compare job that has run");
    return sized_copy_out(&compare->result, sizeof(compare->result), ret_result,
                          "struct byre_compare_result", err);
}
