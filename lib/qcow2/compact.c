/* SPDX-License-Identifier: MIT */
/*
 * Compacting in place.  The caller is alone, all the time.
 *
 * First what takes space and says nothing goes: counts that are too high,
 * clusters of zeroes, empty tables.  Then what lies at the end of the file
 * moves into the holes before it, structures first and data in the order of the
 * disk, batch by batch, until nothing is left that could; and the file is cut.
 *
 * Each step leaves an image that is whole but for leaks, so ending early, by
 * cancelling or a crash, needs no undoing.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/allocator.h"
#include "qcow2/compact_parts.h"
#include "qcow2/copied_flags.h"

#define COUNT_BYTES    (UINT64_C(64) << 20) /* of windows of counts */
#define MOST_MAP_BYTES (UINT64_C(256) << 20)
#define LEAST_MOVES    8
#define MOST_MOVES     (UINT64_C(1) << 19)
#define BYTES_PER_MOVE 64 /* of the budget of tables */

/* ---- What the parts share ---- */

static int stick_if_failed(struct compact *c, int r,
                           const struct byre_error *why)
{
    if (r < 0)
        writer_stick(&c->qcow2->writer, why);
    return r;
}

int compact_write(struct compact *c, uint64_t offset, const void *bytes,
                  size_t length, struct byre_error *err)
{
    const int r = store_write(c->qcow2->store, offset, bytes, length, err);

    return stick_if_failed(c, r, err);
}

int compact_edit(struct compact *c, uint64_t offset, const uint64_t *words,
                 uint32_t count, struct byre_error *err)
{
    uint8_t bytes[16];

    for (uint32_t i = 0; i < count; i++)
        be64_put(bytes + i * 8, words[i]);
    return stick_if_failed(
        c, sector_edits_put(&c->edits, offset, bytes, (size_t)count * 8, err),
        err);
}

int compact_barrier(struct compact *c, struct byre_error *err)
{
    const int r = stick_if_failed(c, sector_edits_write(&c->edits, err), err);

    return r < 0 ? r : writer_barrier(&c->qcow2->writer, err);
}

int compact_switched(struct compact *c, int r, struct byre_error *err)
{
    stick_if_failed(c, r, err);
    return r < 0 ? r : compact_barrier(c, err);
}

int compact_advance(struct compact *c, uint64_t bytes, struct byre_error *err)
{
    c->done_bytes = min_u64(c->done_bytes + bytes, c->total_bytes);
    if (c->progress == NULL)
        return BYRE_OK;
    return c->progress->advance(c->progress->user, c->done_bytes,
                                c->total_bytes, err);
}

/* ---- Beginning and end ---- */

static int alloc_map(struct compact *c, struct byre_error *err)
{
    const size_t bytes = (size_t)(c->clusters / 8 + 1);

    if (c->clusters / 4 > MOST_MAP_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the file of %" PRIu64 " bytes has %" PRIu64
                    " clusters, more than the limit of %" PRIu64
                    " for compacting; convert the image instead",
                    c->result.before_bytes, c->clusters, MOST_MAP_BYTES * 4);
    c->used = malloc(bytes);
    c->fixed = malloc(bytes);
    c->cluster = malloc((size_t)c->cluster_bytes);
    c->block = malloc((size_t)c->cluster_bytes);
    if (c->used == NULL || c->fixed == NULL || c->cluster == NULL ||
        c->block == NULL)
        return fail_nomem(err, "a map of the file",
                          2 * (bytes + (size_t)c->cluster_bytes));
    return BYRE_OK;
}

static int load_table(struct compact *c, struct byre_error *err)
{
    const struct qcow2_header *header = &c->qcow2->header;
    int r;

    r = engine_load_words(
        c->qcow2->store, "refcount table", header->refcount_table_offset,
        header->refcount_table_clusters * c->cluster_bytes / 8,
        QCOW2_MAX_REFCOUNT_TABLE_BYTES, &c->table, &c->table_entries, err);
    for (uint64_t i = 0; r == BYRE_OK && i < c->table_entries; i++)
        if (!refcount_table_entry_decode(c->table[i], c->cluster_bits,
                                         &c->table[i]))
            r = fail_at(err, BYRE_E_CORRUPT,
                        header->refcount_table_offset + i * 8,
                        "refcount table entry %" PRIu64 " is 0x%" PRIx64
                        ", which is no place for a block; run check on the "
                        "image",
                        i, c->table[i]);
    return r;
}

static int init(struct compact *c, struct byre_error *err)
{
    struct qcow2 *qcow2 = c->qcow2;
    int r;

    r = store_get_size(qcow2->store, &c->result.before_bytes, err);
    if (r < 0)
        return r;
    c->cluster_bits = qcow2->header.cluster_bits;
    c->cluster_bytes = qcow2_cluster_bytes(&qcow2->header);
    c->per_block =
        refcounts_per_block(c->cluster_bits, qcow2->header.refcount_order);
    c->clusters = div_round_up(c->result.before_bytes, c->cluster_bytes);
    c->total_bytes = 2 * c->result.before_bytes;
    sector_edits_init(&c->edits, qcow2->store);
    r = alloc_map(c, err);
    if (r == BYRE_OK)
        r = load_table(c, err);
    if (r == BYRE_OK)
        r = reference_counts_init(&c->counts, c->cluster_bits, COUNT_BYTES,
                                  c->clusters, err);
    if (r == BYRE_OK)
        r = compact_moves_init(
            &c->moves,
            (size_t)min_u64(
                max_u64(qcow2->limits.table_cache_bytes / BYTES_PER_MOVE,
                        LEAST_MOVES),
                min_u64(c->clusters + 1, MOST_MOVES)),
            err);
    return r;
}

static void done(struct compact *c)
{
    reference_counts_done(&c->counts);
    compact_moves_done(&c->moves);
    free(c->table);
    free(c->used);
    free(c->fixed);
    free(c->cluster);
    free(c->block);
}

/* ---- The steps ---- */

static int give_up(struct compact *c, struct byre_error *err)
{
    int r;

    c->frees = true;
    r = compact_settle(c, err);
    if (r == BYRE_OK)
        r = compact_zeroes(c, err);
    if (r == BYRE_OK)
        r = compact_empty_tables(c, err);
    if (r == BYRE_OK)
        r = compact_settle(c, err);
    c->frees = false;
    c->done_bytes = max_u64(c->done_bytes, c->result.before_bytes);
    return r;
}

static int move_part(struct compact *c, enum compact_part part, bool *ret_any,
                     struct byre_error *err)
{
    const int r = compact_plan(c, part, err);

    return r < 0 ? r : compact_move(c, part, ret_any, err);
}

/* Everything moves towards the front, so that this ends. */
static int move_all(struct compact *c, struct byre_error *err)
{
    bool any;
    int r;

    do {
        any = false;
        r = compact_advance(c, 0, err);
        if (r == BYRE_OK)
            r = compact_move_tables(c, &any, err);
        if (r == BYRE_OK)
            r = move_part(c, COMPACT_BLOCKS, &any, err);
        if (r == BYRE_OK)
            r = move_part(c, COMPACT_L2_TABLES, &any, err);
        if (r == BYRE_OK)
            r = move_part(c, COMPACT_DATA, &any, err);
        if (r == BYRE_OK)
            r = compact_empty_blocks(c, &any, err);
    } while (r == BYRE_OK && any);
    return r;
}

/* ---- The end of the file ---- */

/* The space is not missed if that fails. */
static void discard_holes(struct compact *c, uint64_t end)
{
    uint64_t start = 0;

    for (uint64_t i = 0; i <= end; i++) {
        if (i < end && !compact_bit(c->used, i))
            continue;
        if (i > start)
            store_discard(c->qcow2->store, start << c->cluster_bits,
                          (i - start) << c->cluster_bits, NULL);
        start = i + 1;
    }
}

/* What is free is durably so. */
static int cut_file(struct compact *c, struct byre_error *err)
{
    struct byre_store *store = c->qcow2->store;
    const uint64_t end = c->used_end * c->cluster_bytes;
    int r = BYRE_OK;

    if (!store->identity.is_device && end < c->result.before_bytes)
        r = store_resize(store, end, err);
    if (r < 0)
        return r;
    discard_holes(c, store->identity.is_device
                         ? c->clusters
                         : min_u64(c->used_end, c->clusters));
    r = writer_barrier(&c->qcow2->writer, err);
    return r < 0 ? r : store_get_size(store, &c->result.after_bytes, err);
}

/* Where a leak was on what is in use, a flag may be missing. */
static int correct_flags(struct compact *c, struct byre_error *err)
{
    int r;

    r = copied_flags_correct(c->qcow2, COUNT_BYTES, err);
    stick_if_failed(c, r, err);
    return r < 0 ? r : compact_barrier(c, err);
}

static int give_up_and_move(struct compact *c, struct byre_error *err)
{
    int r;

    r = give_up(c, err);
    return r < 0 ? r : move_all(c, err);
}

/* Cancelled, it gives back what it has copied for nothing. */
static int settle_canceled(struct compact *c, struct byre_error *err)
{
    int r;

    r = compact_barrier(c, err);
    if (r == BYRE_OK)
        r = compact_settle(c, err);
    return r < 0 ? r : correct_flags(c, err);
}

static int run(struct compact *c, struct byre_error *err)
{
    struct byre_error why = { 0 };
    int r, r_end;

    r = init(c, err);
    if (r < 0)
        return r;
    r = give_up_and_move(c, err);
    if (r == BYRE_OK)
        r = correct_flags(c, err);
    else if (r != BYRE_E_CANCELED) /* memory has what was to be written of L1 */
        stick_if_failed(c, sector_edits_write(&c->edits, &why), &why);
    if (r == BYRE_OK)
        return cut_file(c, err);
    if (r != BYRE_E_CANCELED)
        return r;
    r_end = settle_canceled(c, &why);
    if (r_end < 0)
        *err = why;
    return r_end < 0 ? r_end : r;
}

/* The file is what counts then.  Bitmaps stay in use, and where they are. */
static int write_all(struct qcow2 *qcow2, struct byre_error *err)
{
    int r;

    r = writer_flush(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = qcow2_bitmaps_write(qcow2, true, err);
    return r < 0 ? r : qcow2_settle(qcow2, err);
}

int qcow2_compact(struct engine *engine, const struct engine_progress *progress,
                  struct byre_compact_result *ret, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    struct compact c = { .qcow2 = qcow2, .progress = progress };
    struct byre_error why = { 0 }, reloading = { 0 };
    int r, r_reload;

    r = write_all(qcow2, err);
    if (r < 0)
        return r;

    r = run(&c, &why);
    done(&c);
    table_cache_forget_all(qcow2->tables);
    cluster_reader_clear(qcow2->transfer.clusters);
    r_reload = qcow2_reload_structures(qcow2, &reloading);
    if (r_reload < 0)
        writer_stick(&qcow2->writer, &reloading);
    if (r_reload < 0 && (r == BYRE_OK || r == BYRE_E_CANCELED)) {
        r = r_reload;
        why = reloading;
    }
    if (r < 0 && err != NULL)
        *err = why;
    if (r == BYRE_OK)
        *ret = c.result;
    return r;
}
