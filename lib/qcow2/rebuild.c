/* SPDX-License-Identifier: MIT */
/*
 * Order: blocks and table - barrier - header 48..59 - barrier - COPIED flags -
 * barrier - dirty bit - barrier.
 */
#include "qcow2/rebuild.h"

#include <stdlib.h>

#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/copied_flags.h"
#include "qcow2/header_write.h"
#include "qcow2/rebuild_parts.h"

/* ---- Header ---- */

static int switch_header(struct rebuild *rebuild, struct byre_error *err)
{
    const uint64_t table =
        (rebuild->start + rebuild->blocks) * rebuild->cluster_bytes;
    int r;

    r = header_write_refcounts(rebuild->qcow2, table,
                               (uint32_t)rebuild->table_clusters,
                               rebuild->order, err);
    if (r < 0)
        return r;
    return store_flush(rebuild->qcow2->store, err);
}

static int clear_dirty(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    int r;

    if ((header->incompatible & QCOW2_INCOMPAT_DIRTY) == 0)
        return BYRE_OK;
    r = header_write_features(qcow2,
                              header->incompatible & ~QCOW2_INCOMPAT_DIRTY,
                              header->compatible, header->autoclear, err);
    if (r < 0)
        return r;
    return store_flush(qcow2->store, err);
}

/* ---- All of it ---- */

/* Beside the counts: pieces of tables, a block, the bits of blocks. */
static uint64_t fixed_bytes(const struct rebuild *rebuild)
{
    return REFERENCES_BUFFER_BYTES + rebuild->cluster_bytes +
           REBUILD_MOST_BLOCKS / 8;
}

static int rebuild_init(struct rebuild *rebuild, struct qcow2 *qcow2,
                        const struct rebuild_options *options,
                        struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    uint64_t fixed, clusters;
    int r;

    *rebuild = (struct rebuild){
        .qcow2 = qcow2,
        .progress = options->progress,
        .order = options->refcount_order,
        .low = options->low,
        .cluster_bytes = qcow2_cluster_bytes(header),
        .per_block =
            refcounts_per_block(header->cluster_bits, options->refcount_order),
        .block_index = BYRE_NO_OFFSET,
    };
    r = store_get_size(qcow2->store, &rebuild->file_bytes, err);
    if (r < 0)
        return r;

    fixed = fixed_bytes(rebuild);
    rebuild->needed = calloc(1, REBUILD_MOST_BLOCKS / 8);
    rebuild->block = malloc((size_t)rebuild->cluster_bytes);
    if (rebuild->needed == NULL || rebuild->block == NULL)
        return fail_nomem(err, "a refcount structure", (size_t)fixed);

    /* Room behind the file for what is to be built. */
    clusters = rebuild->file_bytes / rebuild->cluster_bytes;
    clusters += clusters / rebuild->per_block * 2 + 64;
    return reference_counts_init(
        &rebuild->counts, header->cluster_bits,
        options->budget_bytes > fixed ? options->budget_bytes - fixed : 0,
        clusters, err);
}

static void rebuild_done(struct rebuild *rebuild)
{
    reference_counts_done(&rebuild->counts);
    free(rebuild->needed);
    free(rebuild->block);
}

static int build(struct rebuild *rebuild, struct byre_error *err)
{
    int r;

    r = rebuild_survey(rebuild, err);
    if (r < 0)
        return r;

    rebuild->progress = NULL;
    r = rebuild_place(rebuild, err);
    if (r < 0)
        return r;

    r = rebuild_write(rebuild, err);
    if (r < 0)
        return r;
    return switch_header(rebuild, err);
}

int qcow2_rebuild_check(struct qcow2 *qcow2,
                        const struct rebuild_options *options,
                        struct byre_error *err)
{
    struct rebuild rebuild;
    int r;

    r = rebuild_init(&rebuild, qcow2, options, err);
    if (r == BYRE_OK)
        r = rebuild_survey(&rebuild, err);
    rebuild_done(&rebuild);
    return r;
}

static int replace(struct qcow2 *qcow2, const struct rebuild_options *options,
                   bool tolerant, struct byre_error *err)
{
    struct rebuild rebuild;
    int r;

    r = rebuild_init(&rebuild, qcow2, options, err);
    rebuild.tolerant = tolerant;
    if (r == BYRE_OK)
        r = build(&rebuild, err);
    rebuild_done(&rebuild);
    return r;
}

static struct rebuild_options same_width(const struct qcow2 *qcow2,
                                         uint64_t budget_bytes)
{
    return (struct rebuild_options){
        .refcount_order = qcow2->header.refcount_order,
        .budget_bytes = budget_bytes,
    };
}

int qcow2_replace_refcounts(struct qcow2 *qcow2, uint64_t budget_bytes,
                            struct byre_error *err)
{
    const struct rebuild_options options = same_width(qcow2, budget_bytes);

    return replace(qcow2, &options, true, err);
}

int qcow2_rebuild_refcounts(struct qcow2 *qcow2, uint64_t budget_bytes,
                            struct byre_error *err)
{
    const struct rebuild_options options = same_width(qcow2, budget_bytes);

    return qcow2_rebuild_as(qcow2, &options, err);
}

int qcow2_rebuild_as(struct qcow2 *qcow2, const struct rebuild_options *options,
                     struct byre_error *err)
{
    int r;

    r = replace(qcow2, options, false, err);
    if (r < 0)
        return r;

    r = copied_flags_correct(qcow2, options->budget_bytes, err);
    if (r < 0)
        return r;

    r = store_flush(qcow2->store, err);
    if (r < 0)
        return r;
    return clear_dirty(qcow2, err);
}
