/* SPDX-License-Identifier: MIT */
#include "qcow1/space.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"

static const char *const kind_names[] = {
    [QCOW1_HEADER] = "the header",
    [QCOW1_BACKING_NAME] = "the backing file name",
    [QCOW1_L1_TABLE] = "the L1 table",
    [QCOW1_L2_TABLE] = "an L2 table",
};

void qcow1_space_init(struct qcow1_space *space)
{
    *space = (struct qcow1_space){ 0 };
    pthread_rwlock_init(&space->lock, NULL);
}

void qcow1_space_done(struct qcow1_space *space)
{
    range_set_done(&space->structures);
    pthread_rwlock_destroy(&space->lock);
}

/* ---- Structures ---- */

static int fail_past_limit(const struct qcow1_space *space,
                           enum qcow1_structure kind, uint64_t offset,
                           uint64_t bytes, struct byre_error *err)
{
    return fail_at(err, BYRE_E_CORRUPT, offset,
                   "%s of %" PRIu64 " bytes at offset %" PRIu64
                   " ends past the limit of %" PRIu64
                   "; copy its disk to a new image to write",
                   kind_names[kind], bytes, offset, space->limit);
}

static int fail_overlap(enum qcow1_structure kind, uint64_t offset,
                        const struct range *other, struct byre_error *err)
{
    return fail_at(err, BYRE_E_CORRUPT, offset,
                   "%s at offset %" PRIu64 " overlaps %s at offset %" PRIu64
                   "; copy its disk to a new image to write",
                   kind_names[kind], offset, kind_names[other->kind],
                   max_u64(other->start, offset));
}

static int add(struct qcow1_space *space, enum qcow1_structure kind,
               uint64_t offset, uint64_t bytes, struct byre_error *err)
{
    const struct range *other =
        range_set_find(&space->structures, offset, bytes);
    int r;

    if (other != NULL)
        return fail_overlap(kind, offset, other, err);

    r = range_set_add(&space->structures, offset, bytes, kind, err);
    if (r == BYRE_OK)
        space->end = max_u64(space->end, offset + bytes);
    return r;
}

int qcow1_space_add(struct qcow1_space *space, enum qcow1_structure kind,
                    uint64_t offset, uint64_t bytes, struct byre_error *err)
{
    int r;

    if (!range_within(offset, bytes, space->limit))
        return fail_past_limit(space, kind, offset, bytes, err);

    pthread_rwlock_wrlock(&space->lock);
    r = add(space, kind, offset, bytes, err);
    pthread_rwlock_unlock(&space->lock);
    return r;
}

void qcow1_space_remove(struct qcow1_space *space, uint64_t offset,
                        uint64_t bytes)
{
    pthread_rwlock_wrlock(&space->lock);
    /* Should a range have to be split, and memory be out, it stays: bytes that
       are guarded and never used. */
    range_set_remove(&space->structures, offset, bytes, NULL);
    pthread_rwlock_unlock(&space->lock);
}

/* ---- The end ---- */

void qcow1_space_raise_end(struct qcow1_space *space, uint64_t end)
{
    pthread_rwlock_wrlock(&space->lock);
    space->end = max_u64(space->end, end);
    pthread_rwlock_unlock(&space->lock);
}

static int fail_full(const struct qcow1_space *space, uint64_t bytes,
                     struct byre_error *err)
{
    if (space->is_device)
        return fail_errno(err, ENOSPC,
                          "the device of %" PRIu64
                          " bytes has no room for %" PRIu64 " more",
                          space->limit, bytes);
    return fail(err, BYRE_E_LIMIT,
                "the file would grow by %" PRIu64 " bytes past %" PRIu64
                ", the largest offset there is",
                bytes, space->limit);
}

int qcow1_space_take(struct qcow1_space *space, uint64_t bytes,
                     uint64_t alignment, uint64_t *ret_offset,
                     struct byre_error *err)
{
    uint64_t offset;
    int r = BYRE_OK;

    pthread_rwlock_wrlock(&space->lock);
    offset = align_up(space->end, alignment);
    if (range_within(offset, bytes, space->limit))
        space->end = offset + bytes;
    else
        r = fail_full(space, bytes, err);
    pthread_rwlock_unlock(&space->lock);
    if (r == BYRE_OK)
        *ret_offset = offset;
    return r;
}

void qcow1_space_give_back(struct qcow1_space *space, uint64_t offset,
                           uint64_t bytes)
{
    pthread_rwlock_wrlock(&space->lock);
    if (space->end == offset + bytes)
        space->end = offset;
    pthread_rwlock_unlock(&space->lock);
}

/* ---- The guard ---- */

int qcow1_space_check(struct qcow1_space *space, uint64_t offset,
                      uint64_t bytes, struct byre_error *err)
{
    const struct range *hit = NULL;
    struct range found = { 0 };
    uint64_t end;

    pthread_rwlock_rdlock(&space->lock);
    end = space->end;
    if (range_within(offset, bytes, end))
        hit = range_set_find(&space->structures, offset, bytes);
    if (hit != NULL)
        found = *hit;
    pthread_rwlock_unlock(&space->lock);

    if (!range_within(offset, bytes, end))
        return fail_at(err, BYRE_E_CORRUPT, offset,
                       "data of %" PRIu64 " bytes at offset %" PRIu64
                       " ends past what the file holds, %" PRIu64 " bytes",
                       bytes, offset, end);
    if (hit == NULL)
        return BYRE_OK;
    return fail_at(
        err, BYRE_E_CORRUPT, offset,
        "data of %" PRIu64 " bytes at offset %" PRIu64
        " hits %s at offset %" PRIu64 "; copy its disk to a new image to write",
        bytes, offset, kind_names[found.kind], max_u64(found.start, offset));
}
