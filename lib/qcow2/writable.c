/* SPDX-License-Identifier: MIT */
/*
 * Opening a disk for writing, what the flush needs of QCOW2, and closing it.
 *
 * Refcounts are kept ahead of pointers in every image, with one more write and
 * no barrier of its own: so the dirty bit that lazy refcounts allow is never
 * set by us, only repaired.
 */
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/header_write.h"
#include "qcow2/internal.h"
#include "qcow2/rebuild.h"

/* Counting the references of an image that was not closed cleanly. */
#define REBUILD_BYTES (UINT64_C(64) << 20)

/* ---- Corruption ---- */

static void set_corrupt_bit(struct qcow2 *qcow2)
{
    const struct qcow2_header *header = &qcow2->header;

    if (header->version < 3 ||
        (header->incompatible & QCOW2_INCOMPAT_CORRUPT) != 0)
        return;
    if (header_write_features(
            qcow2, header->incompatible | QCOW2_INCOMPAT_CORRUPT,
            header->compatible, header->autoclear, NULL) == BYRE_OK)
        store_flush(qcow2->store, NULL);
}

int qcow2_mark_corrupt(struct qcow2 *qcow2, int r, struct byre_error *err)
{
    struct byre_error unknown = { .message = "its tables contradict" };

    if (r != BYRE_E_CORRUPT)
        return r;
    pthread_mutex_lock(&qcow2->header_lock);
    writer_stick(&qcow2->writer, err != NULL ? err : &unknown);
    set_corrupt_bit(qcow2);
    pthread_mutex_unlock(&qcow2->header_lock);
    return r;
}

/* ---- The writer's questions ---- */

static int guard(struct engine *engine, struct byre_store *store,
                 uint64_t host_offset, uint64_t bytes, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const uint64_t end = atomic_load(&qcow2->file_end_bytes);
    int r;

    if (store != qcow2->store)
        return BYRE_OK;
    if (!range_within(host_offset, bytes, end))
        r = fail_at(err, BYRE_E_CORRUPT, host_offset,
                    "a cluster at %llu lies past the end of the file, %llu; "
                    "run check",
                    (unsigned long long)host_offset, (unsigned long long)end);
    else
        r = metadata_check(&qcow2->metadata, host_offset, bytes, err);
    return qcow2_mark_corrupt(qcow2, r, err);
}

static int flush_begin(struct engine *engine, void **ret_batch,
                       struct byre_error *err)
{
    struct release_batch *batch = NULL;
    int r;

    r = allocator_flush_begin(qcow2_of(engine)->allocator, &batch, err);
    if (r == BYRE_OK)
        *ret_batch = batch;
    return r;
}

static int flush_counts(struct engine *engine, struct byre_error *err)
{
    return allocator_flush_counts(qcow2_of(engine)->allocator, err);
}

static void flush_durable(struct engine *engine)
{
    allocator_flush_durable(qcow2_of(engine)->allocator);
}

static int flush_unlinked(struct engine *engine, void *batch,
                          struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);

    return qcow2_mark_corrupt(
        qcow2, allocator_flush_unlinked(qcow2->allocator, batch, err), err);
}

static void flush_failed(struct engine *engine, void *batch)
{
    allocator_flush_failed(qcow2_of(engine)->allocator, batch);
}

const struct writer_ops qcow2_writer_ops = {
    .plan = qcow2_plan,
    .allocate = qcow2_allocate,
    .link = qcow2_link,
    .give_back = qcow2_give_back,
    .allocate_stream = qcow2_allocate_stream,
    .link_stream = qcow2_link_stream,
    .give_back_stream = qcow2_give_back_stream,
    .guard = guard,
    .flush_begin = flush_begin,
    .flush_counts = flush_counts,
    .flush_durable = flush_durable,
    .flush_unlinked = flush_unlinked,
    .flush_failed = flush_failed,
};

/* ---- Opening ---- */

static int check_writable(const struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;

    if (header->incompatible & QCOW2_INCOMPAT_CORRUPT)
        return fail(err, BYRE_E_CORRUPT,
                    "Image is corrupt; cannot be opened read/write: copy its "
                    "disk, or repair it with check -r all");
    if (header->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the image has persistent bitmaps, which writing would "
                    "have to keep up to date; this version cannot");
    if (qcow2->store->ops.write == NULL || qcow2->store->ops.flush == NULL ||
        qcow2->data_store->ops.write == NULL ||
        qcow2->data_store->ops.flush == NULL)
        return fail(err, BYRE_E_STATE,
                    "the store has no functions to write and flush");
    return BYRE_OK;
}

/* Before anything changes: what we do not know of may not be true any more. */
static int clear_unknown_autoclear(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    const uint64_t known = header->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    int r;

    if (header->autoclear == known)
        return BYRE_OK;

    r = header_write_features(qcow2, header->incompatible, header->compatible,
                              known, err);
    if (r < 0)
        return r;
    return store_flush(qcow2->store, err);
}

static int guard_table(struct qcow2 *qcow2, enum metadata_kind kind,
                       uint64_t offset, uint64_t bytes, struct byre_error *err)
{
    if (bytes == 0)
        return BYRE_OK;
    return metadata_add(&qcow2->metadata, kind, offset, bytes,
                        engine_cluster_bytes(&qcow2->engine), err);
}

/* The L2 tables, `l1.held` of them at most; each lies in the file. */
static int list_l2_tables(struct qcow2 *qcow2, uint64_t *ret_offsets,
                          size_t *ret_count, struct byre_error *err)
{
    const uint64_t end = atomic_load(&qcow2->file_end_bytes);
    size_t count = 0;

    for (uint64_t i = 0; i < qcow2->l1.held; i++) {
        const uint64_t entry = l1_get(&qcow2->l1, i);
        uint64_t offset;

        if (!l1_entry_decode(entry, qcow2->header.cluster_bits, &offset) ||
            offset >= end)
            return fail(err, BYRE_E_CORRUPT,
                        "L1 entry %llu, 0x%016llx, does not point to a "
                        "cluster of the file; run check",
                        (unsigned long long)i, (unsigned long long)entry);
        if (offset != 0)
            ret_offsets[count++] = offset;
    }
    *ret_count = count;
    return BYRE_OK;
}

static int compare_offsets(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

/* In the order of the file, in which adding to a set is cheap. */
static int guard_l2_tables(struct qcow2 *qcow2, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const size_t bytes = (size_t)qcow2->l1.held * sizeof(uint64_t);
    uint64_t *offsets = malloc(bytes > 0 ? bytes : 1);
    size_t count = 0;
    int r;

    if (offsets == NULL)
        return fail_nomem(err, "a list of L2 tables", bytes);

    r = list_l2_tables(qcow2, offsets, &count, err);
    if (r == BYRE_OK && count > 0)
        qsort(offsets, count, sizeof(*offsets), compare_offsets);
    for (size_t i = 0; i < count && r == BYRE_OK; i++)
        r = guard_table(qcow2, METADATA_L2, offsets[i], cluster, err);
    free(offsets);
    return r;
}

static int guard_snapshots(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct byre_snapshot *ignored;
    size_t count;
    int r;

    r = qcow2_snapshots(&qcow2->engine, &ignored, &count, err);
    if (r == BYRE_OK)
        r = guard_table(qcow2, METADATA_SNAPSHOT_TABLE,
                        qcow2->header.snapshots_offset,
                        qcow2->snapshots.table_bytes, err);
    for (size_t i = 0; i < count && r == BYRE_OK; i++) {
        const struct qcow2_snapshot *snapshot = &qcow2->snapshots.entries[i];

        r = qcow2_table_check("the L1 table of a snapshot", BYRE_NO_OFFSET,
                              snapshot->l1_offset,
                              UINT64_C(8) * snapshot->l1_entries,
                              qcow2->header.cluster_bits, err);
        if (r == BYRE_OK)
            r = guard_table(qcow2, METADATA_SNAPSHOT_L1, snapshot->l1_offset,
                            UINT64_C(8) * snapshot->l1_entries, err);
    }
    return r;
}

/* All structures but the refcounts, which the allocator adds. */
static int guard_structures(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    int r;

    r = guard_table(qcow2, METADATA_HEADER, 0, 1, err);
    if (r == BYRE_OK)
        r = guard_table(qcow2, METADATA_L1, header->l1_offset,
                        UINT64_C(8) * header->l1_entries, err);
    if (r == BYRE_OK)
        r = guard_l2_tables(qcow2, err);
    if (r == BYRE_OK && header->snapshot_count > 0)
        r = guard_snapshots(qcow2, err);
    if (r == BYRE_OK && qcow2->has_crypto)
        r = guard_table(qcow2, METADATA_LUKS, qcow2->crypto.offset,
                        qcow2->crypto.length, err);
    return r;
}

static int set_up_writer(struct qcow2 *qcow2,
                         const struct write_options *options,
                         struct byre_error *err)
{
    qcow2->writer = (struct writer){
        .engine = &qcow2->engine,
        .ops = &qcow2_writer_ops,
        .store = qcow2->store,
        .data_store = qcow2->data_store,
        .transfer = &qcow2->transfer,
        .tables = qcow2->tables,
        .l1 = &qcow2->l1,
        .backing = options->backing,
    };
    qcow2->keep_space = options->keep_space;
    qcow2->refcount_cache_bytes = options->refcount_cache_bytes;
    return writer_init(&qcow2->writer,
                       qcow2->header.compression_type == QCOW2_COMPRESSION_ZSTD
                           ? CODEC_ZSTD
                           : CODEC_DEFLATE,
                       err);
}

void qcow2_raise_file_end(struct qcow2 *qcow2, uint64_t end)
{
    uint64_t seen = atomic_load(&qcow2->file_end_bytes);

    while (seen < end &&
           !atomic_compare_exchange_weak(&qcow2->file_end_bytes, &seen, end))
        ;
}

static int set_file_end(struct qcow2 *qcow2, struct byre_error *err)
{
    uint64_t bytes;
    int r;

    r = store_get_size(qcow2->store, &bytes, err);
    if (r < 0)
        return r;
    atomic_store(&qcow2->file_end_bytes,
                 align_up(bytes, engine_cluster_bytes(&qcow2->engine)));
    return BYRE_OK;
}

int qcow2_prepare_write(struct engine *engine,
                        const struct write_options *options,
                        struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    metadata_init(&qcow2->metadata);
    pthread_mutex_init(&qcow2->header_lock, NULL);
    qcow2->has_writer = true;

    r = check_writable(qcow2, err);
    if (r == BYRE_OK && (qcow2->header.incompatible & QCOW2_INCOMPAT_DIRTY)) {
        r = clear_unknown_autoclear(qcow2, err);
        if (r == BYRE_OK)
            r = qcow2_rebuild_refcounts(qcow2, REBUILD_BYTES, err);
    }
    if (r == BYRE_OK)
        r = qcow2_reload_l1(qcow2, err);
    if (r == BYRE_OK)
        r = set_file_end(qcow2, err);
    if (r == BYRE_OK)
        r = guard_structures(qcow2, err);
    if (r == BYRE_OK)
        r = allocator_new(qcow2, &qcow2->metadata, &engine->gate,
                          options->refcount_cache_bytes, &qcow2->allocator,
                          err);
    if (r == BYRE_OK)
        r = set_up_writer(qcow2, options, err);
    if (r == BYRE_OK)
        r = clear_unknown_autoclear(qcow2, err);
    if (r < 0)
        return r;
    /* Found out once: later the refcount table may move meanwhile. */
    qcow2_may_have_holes(engine);
    engine->writable = true;
    return BYRE_OK;
}

/* The old guard goes first: two of them would say that all overlaps. */
static int reload_structures(struct qcow2 *qcow2, struct byre_error *err)
{
    struct allocator *allocator = NULL;
    int r;

    metadata_done(&qcow2->metadata);
    metadata_init(&qcow2->metadata);
    r = set_file_end(qcow2, err);
    if (r == BYRE_OK)
        r = guard_structures(qcow2, err);
    if (r == BYRE_OK)
        r = allocator_new(qcow2, &qcow2->metadata, &qcow2->engine.gate,
                          qcow2->refcount_cache_bytes, &allocator, err);
    if (r < 0)
        return r;
    allocator_free(qcow2->allocator);
    qcow2->allocator = allocator;
    return BYRE_OK;
}

int qcow2_reload_structures(struct qcow2 *qcow2, struct byre_error *err)
{
    struct byre_error why = { 0 };
    const int r = reload_structures(qcow2, &why);

    if (r < 0) {
        writer_stick(&qcow2->writer, &why);
        if (err != NULL)
            *err = why;
    }
    return r;
}

/* ---- Writing, flushing, closing ---- */

int qcow2_write(struct engine *engine, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err)
{
    return writer_write(&qcow2_of(engine)->writer, offset, buf, length, flags,
                        order, err);
}

int qcow2_flush(struct engine *engine, struct byre_error *err)
{
    return writer_flush(&qcow2_of(engine)->writer, err);
}

/* Releases need a flush to be lowered, one to be written, one to be free. */
#define MOST_LAST_FLUSHES 4

int qcow2_finish(struct engine *engine, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    r = writer_flush(&qcow2->writer, err);
    for (int i = 0; i < MOST_LAST_FLUSHES && r == BYRE_OK &&
                    allocator_is_dirty(qcow2->allocator);
         i++)
        r = writer_flush(&qcow2->writer, err);
    return r;
}

void qcow2_writable_done(struct qcow2 *qcow2)
{
    if (!qcow2->has_writer)
        return;
    writer_done(&qcow2->writer);
    allocator_free(qcow2->allocator);
    metadata_done(&qcow2->metadata);
    pthread_mutex_destroy(&qcow2->header_lock);
}
