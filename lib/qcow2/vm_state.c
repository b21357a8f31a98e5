/* SPDX-License-Identifier: MIT */
/*
 * VM state: clusters behind the disk, mapped as its own are.  The backing file
 * has no part in it.
 */
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

uint64_t qcow2_vm_state_start(const struct qcow2 *qcow2)
{
    return align_up(qcow2->engine.size_bytes, qcow2_l1_range_bytes(qcow2));
}

static int read_run(struct qcow2 *qcow2, uint64_t offset, uint8_t *buf,
                    size_t length, size_t *ret_done, struct byre_error *err)
{
    struct mapping mapping;
    int r;

    r = qcow2_map(&qcow2->engine, offset, length, &mapping, err);
    if (r < 0)
        return r;

    *ret_done = (size_t)mapping.length;
    if (mapping.kind == L2_DATA || mapping.kind == L2_COMPRESSED ||
        mapping.kind == L2_INVALID)
        return qcow2_read(&qcow2->engine, &mapping, offset, buf, *ret_done,
                          err);
    memset(buf, 0, *ret_done);
    return BYRE_OK;
}

int qcow2_vm_state_read(struct engine *engine, uint64_t offset, void *buf,
                        size_t length, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const uint64_t start = qcow2_vm_state_start(qcow2);
    const uint64_t end =
        max_u64(qcow2->l1.held * qcow2_l1_range_bytes(qcow2), start);
    const size_t held = offset < end - start
                            ? (size_t)min_u64(length, end - start - offset)
                            : 0;
    uint8_t *p = buf;
    int r = BYRE_OK;

    for (size_t at = 0, n; at < held && r == BYRE_OK; at += n) {
        n = 0;
        r = read_run(qcow2, start + offset + at, p + at, held - at, &n, err);
    }
    if (r == BYRE_OK)
        memset(p + held, 0, length - held);
    return r;
}

/* The L1 entries that cover so many bytes of VM state; false: too many. */
static bool entries_for(const struct qcow2 *qcow2, uint64_t bytes,
                        uint64_t *ret_entries)
{
    const uint64_t most =
        min_u64(QCOW2_MAX_L1_ENTRIES, qcow2->limits.max_table_bytes / 8);
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    const uint64_t entries =
        qcow2_vm_state_start(qcow2) / range + div_round_up(bytes, range);

    *ret_entries = entries;
    return entries <= most;
}

static int fail_too_much(uint64_t bytes, struct byre_error *err)
{
    return fail(err, BYRE_E_LIMIT,
                "VM state of %" PRIu64 " bytes is more than the L1 table has "
                "room for: use larger clusters",
                bytes);
}

int qcow2_vm_state_write(struct engine *engine, uint64_t offset,
                         const void *buf, size_t length, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    uint64_t end, entries;

    if (engine->needs_data_file)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "an image with an external data file has no snapshots, and "
                    "so no VM state");
    if (add_overflow(offset, length, &end) ||
        !entries_for(qcow2, end, &entries))
        return fail_too_much(offset, err);
    if (entries > qcow2->header.l1_entries)
        return ENGINE_NEEDS_ROOM;
    return writer_write(&qcow2->writer, qcow2_vm_state_start(qcow2) + offset,
                        buf, length, 0, NULL, err);
}

/* The table is moved, so there is room for half as much again where that may
   be. */
int qcow2_vm_state_reserve(struct engine *engine, uint64_t bytes,
                           struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    uint64_t entries, generous;
    int r;

    r = writer_check(&qcow2->writer, err);
    if (r < 0)
        return r;
    if (!entries_for(qcow2, bytes, &entries))
        return fail_too_much(bytes, err);
    if (!entries_for(qcow2, bytes + bytes / 2, &generous))
        generous = entries;
    return qcow2_grow_l1(qcow2, generous, err);
}
