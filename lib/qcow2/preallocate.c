/* SPDX-License-Identifier: MIT */
#include "qcow2/preallocate.h"

#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "store/file.h"

#define ZEROES_BYTES (UINT64_C(1) << 20)

/* Writes what reads as zeroes, encrypted where the disk is. */
static int write_zeroes(struct qcow2 *qcow2, const struct write_plan *plan,
                        uint64_t length, struct byre_error *err)
{
    const size_t most = (size_t)min_u64(length, ZEROES_BYTES);
    uint8_t *zeroes = calloc(1, most);
    uint64_t done = 0;
    int r = BYRE_OK;

    if (zeroes == NULL)
        return fail_nomem(err, "zeroes", most);

    while (done < length && r == BYRE_OK) {
        const size_t n = (size_t)min_u64(length - done, most);

        r = transfer_write(&qcow2->transfer, plan->store,
                           plan->host_offset + done, plan->guest_offset + done,
                           zeroes, n, err);
        done += n;
    }
    free(zeroes);
    return r;
}

/* A hole of the file is as good as zeroes, if the file reaches behind it. */
static int extend_file(const struct write_plan *plan, uint64_t length,
                       struct byre_error *err)
{
    const uint64_t end = plan->host_offset + length;
    uint64_t size_bytes;
    int r;

    r = store_get_size(plan->store, &size_bytes, err);
    if (r < 0 || size_bytes >= end)
        return r;
    return store_resize(plan->store, end, err);
}

/* Makes the clusters of a plan read as zeroes, with the space asked for. */
static int fill(struct qcow2 *qcow2, const struct write_plan *plan,
                uint32_t preallocation, struct byre_error *err)
{
    const bool external = plan->store != qcow2->store;
    const uint64_t length =
        external ? min_u64(plan->length,
                           qcow2->engine.size_bytes - plan->guest_offset)
                 : plan->length;
    const bool is_zero =
        (plan->reads_zero || external) && qcow2->transfer.cipher == NULL;
    int r = BYRE_OK;

    if (!is_zero || preallocation == BYRE_PREALLOCATION_FULL)
        return write_zeroes(qcow2, plan, length, err);
    if (preallocation == BYRE_PREALLOCATION_FALLOC)
        r = file_store_preallocate(plan->store, plan->host_offset, length, err);
    if (r == BYRE_E_UNSUPPORTED)
        return write_zeroes(qcow2, plan, length, err);
    return r < 0 ? r : extend_file(plan, length, err);
}

static int preallocate_run(struct qcow2 *qcow2, struct write_plan *plan,
                           uint32_t preallocation, struct byre_error *err)
{
    struct engine *engine = &qcow2->engine;
    int r;

    r = qcow2_plan(engine, plan, err);
    if (r < 0 || plan->action != PLAN_ALLOCATE)
        return r;

    r = qcow2_allocate(engine, plan, err);
    if (r < 0)
        return r;

    r = fill(qcow2, plan, preallocation, err);
    if (r == BYRE_OK)
        r = qcow2_link(engine, plan, err);
    if (r < 0)
        qcow2_give_back(engine, plan);
    return r;
}

int qcow2_preallocate(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                      uint32_t preallocation, struct byre_error *err)
{
    while (length > 0) {
        struct write_plan plan = { .guest_offset = offset, .length = length };
        int r;

        r = preallocate_run(qcow2, &plan, preallocation, err);
        if (r < 0)
            return r;
        offset += plan.length;
        length -= plan.length;
    }
    return BYRE_OK;
}
