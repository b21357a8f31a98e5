/* SPDX-License-Identifier: MIT */
#include "qcow2/check.h"

#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/header_write.h"

/* Beside the counts: pieces of tables, blocks, who shares what, flags. */
static uint64_t fixed_bytes(const struct check *check)
{
    return REFERENCES_BUFFER_BYTES + 2 * check->cluster_bytes +
           CHECK_MOST_SHARED * sizeof(struct check_shared) +
           check_flag_bytes(check);
}

int check_init_counts(struct check *check, struct byre_error *err)
{
    const uint64_t fixed = fixed_bytes(check);

    if (check->counts.narrow != NULL || check->counts.counts != NULL)
        return BYRE_OK;
    return reference_counts_init(
        &check->counts, check->qcow2->header.cluster_bits,
        check->memory_bytes > fixed ? check->memory_bytes - fixed : 0,
        check->file_clusters + 1, err);
}

int check_measure_file(struct check *check, struct byre_error *err)
{
    uint64_t file_bytes;
    int r;

    r = store_get_size(check->qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;
    check->file_clusters = div_round_up(file_bytes, check->cluster_bytes);
    reference_counts_done(&check->counts);
    return check_init_counts(check, err);
}

static int check_init(struct check *check, struct byre_error *err)
{
    int r;

    check->cluster_bytes = qcow2_cluster_bytes(&check->qcow2->header);
    check->result.total_clusters =
        div_round_up(check->qcow2->engine.size_bytes, check->cluster_bytes);
    r = stored_counts_init(&check->stored, check->qcow2, err);
    if (r < 0)
        return r;
    return check_measure_file(check, err);
}

static void check_done(struct check *check)
{
    check_owners_done(&check->owners);
    stored_counts_done(&check->stored);
    reference_counts_done(&check->counts);
}

/* ---- Looking ---- */

static int look(struct check *check, struct byre_error *err)
{
    int r;

    check->mode = CHECK_REPORT;
    check->in_first_walk = true;
    r = check_counts(check, err);
    if (r < 0)
        return r;
    r = check_owners_report(check, err);
    if (r < 0)
        return r;
    return check_flags(check, false, err);
}

/* ---- The engine's calls ---- */

int qcow2_check(struct engine *engine, uint32_t repair, uint64_t memory_bytes,
                const struct check_sink *sink, struct byre_check_result *ret,
                struct byre_error *err)
{
    struct check check = {
        .qcow2 = qcow2_of(engine),
        .repair = repair,
        .memory_bytes = memory_bytes,
        .sink = sink,
        .result = BYRE_CHECK_RESULT_INIT,
    };
    int r;

    r = check_init(&check, err);
    if (r == BYRE_OK)
        r = repair != 0 ? check_mend(&check, err) : look(&check, err);
    check_done(&check);
    if (r < 0)
        return r;
    check.result.image_end_offset =
        max_u64(check.highest, 1) * check.cluster_bytes;
    *ret = check.result;
    return BYRE_OK;
}

int qcow2_mark_sound(struct engine *engine, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const struct qcow2_header *header = &qcow2->header;
    const uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
    int r;

    if ((header->incompatible & marks) == 0)
        return BYRE_OK;
    /* What was mended is durable before the marks go. */
    r = store_flush(qcow2->store, err);
    if (r == BYRE_OK)
        r = header_write_features(qcow2, header->incompatible & ~marks,
                                  header->compatible, header->autoclear, err);
    if (r < 0)
        return r;
    return store_flush(qcow2->store, err);
}
