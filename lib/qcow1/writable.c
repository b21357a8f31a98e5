/* SPDX-License-Identifier: MIT */
/*
 * Opening a disk of version 1 for writing, and the calls that write it.
 *
 * Nothing in the file says where it is free.  What is in use is found by
 * reading all tables, once: the length of the file is not enough, since a
 * device has none, and a crash of another writer may have left clusters that
 * lie past it, which must not be handed out a second time.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow1/internal.h"

int qcow1_note_corrupt(struct qcow1 *qcow1, int r, struct byre_error *err)
{
    const struct byre_error unknown = { .message = "its tables contradict" };

    if (r == BYRE_E_CORRUPT)
        writer_stick(&qcow1->writer, err != NULL ? err : &unknown);
    return r;
}

/* ---- Structures ---- */

/*
 * Entries change in place.  One of 8 bytes that crosses a sector could be torn,
 * which no barrier prevents.
 */
static int check_alignment(const char *name, uint64_t offset,
                           struct byre_error *err)
{
    if (is_aligned(offset, 8))
        return BYRE_OK;
    return fail_at(err, BYRE_E_UNSUPPORTED, offset,
                   "%s at offset %" PRIu64
                   ", no multiple of 8, cannot be changed safely; copy the "
                   "disk to a new image to write",
                   name, offset);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

struct table_list {
    uint64_t *offsets; /* of the L2 tables, ascending */
    size_t count;
};

static int list_tables(const struct qcow1 *qcow1, struct table_list *ret,
                       struct byre_error *err)
{
    const size_t bytes = (size_t)qcow1->l1.held * sizeof(*ret->offsets);

    *ret = (struct table_list){ .offsets = malloc(bytes + 1) };
    if (ret->offsets == NULL)
        return fail_nomem(err, "a list of L2 tables", bytes);

    for (uint64_t i = 0; i < qcow1->l1.held; i++) {
        if (l1_get(&qcow1->l1, i) != 0)
            ret->offsets[ret->count++] = l1_get(&qcow1->l1, i);
    }
    qsort(ret->offsets, ret->count, sizeof(*ret->offsets), by_value);
    return BYRE_OK;
}

/* In ascending order: adding to the set is cheap so. */
static int add_tables(struct qcow1 *qcow1, const struct table_list *list,
                      struct byre_error *err)
{
    int r = BYRE_OK;

    for (size_t i = 0; i < list->count && r == BYRE_OK; i++) {
        r = check_alignment("an L2 table", list->offsets[i], err);
        if (r == BYRE_OK)
            r = qcow1_space_add(&qcow1->space, QCOW1_L2_TABLE, list->offsets[i],
                                qcow1_l2_bytes(qcow1), err);
    }
    return r;
}

static int add_structures(struct qcow1 *qcow1, const struct table_list *list,
                          struct byre_error *err)
{
    const struct qcow1_header *header = &qcow1->header;
    struct qcow1_space *space = &qcow1->space;
    int r;

    r = check_alignment("the L1 table", header->l1_offset, err);
    if (r == BYRE_OK)
        r = qcow1_space_add(space, QCOW1_HEADER, 0, QCOW1_HEADER_BYTES, err);
    if (r == BYRE_OK)
        r = qcow1_space_add(space, QCOW1_BACKING_NAME, header->backing_offset,
                            header->backing_bytes, err);
    if (r == BYRE_OK)
        r = qcow1_space_add(space, QCOW1_L1_TABLE, header->l1_offset,
                            qcow1_l1_entries(header) * 8, err);
    if (r == BYRE_OK)
        r = add_tables(qcow1, list, err);
    return r;
}

/* ---- Clusters ---- */

/*
 * What begins up to here can be: a crash may have cut off as much as the disk
 * holds, not more.
 */
static uint64_t farthest_start(const struct qcow1 *qcow1, uint64_t file_bytes)
{
    return qcow1->space.is_device
               ? qcow1->space.limit
               : min_u64(file_bytes, STORE_MAX_OFFSET / 2) +
                     min_u64(qcow1->engine.size_bytes, STORE_MAX_OFFSET / 2);
}

static int count_cluster(struct qcow1 *qcow1, uint64_t raw, uint64_t farthest,
                         struct byre_error *err)
{
    const struct l2_entry entry = qcow1_decode_entry(qcow1, raw);
    const uint64_t bytes = entry.kind == L2_COMPRESSED
                               ? entry.compressed_bytes
                               : engine_cluster_bytes(&qcow1->engine);

    /* What is invalid fails when it is used, and stands for no place. */
    if (entry.kind != L2_DATA && entry.kind != L2_COMPRESSED)
        return BYRE_OK;
    if (entry.host_offset > farthest ||
        !range_within(entry.host_offset, bytes, qcow1->space.limit))
        return fail_at(err, BYRE_E_CORRUPT, entry.host_offset,
                       "L2 entry 0x%016" PRIx64 " points to offset %" PRIu64
                       ", far past the end of the file; copy the disk to a new "
                       "image to write",
                       raw, entry.host_offset);
    qcow1_space_raise_end(&qcow1->space, entry.host_offset + bytes);
    return qcow1_space_check(&qcow1->space, entry.host_offset, bytes, err);
}

static int count_clusters(struct qcow1 *qcow1, const struct table_list *list,
                          uint64_t farthest, struct byre_error *err)
{
    const size_t bytes = (size_t)qcow1_l2_bytes(qcow1);
    uint8_t *table = malloc(bytes);
    int r = BYRE_OK;

    if (table == NULL)
        return fail_nomem(err, "an L2 table", bytes);

    for (size_t i = 0; i < list->count && r == BYRE_OK; i++) {
        r = store_read(qcow1->store, list->offsets[i], table, bytes, err);
        for (size_t at = 0; at < bytes && r == BYRE_OK; at += 8)
            r = count_cluster(qcow1, be64_get(table + at), farthest, err);
    }
    free(table);
    return r;
}

/* A file that ends in the middle of a cluster is taken to hold all of it. */
static int find_end(struct qcow1 *qcow1, const struct table_list *list,
                    uint64_t file_bytes, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow1->engine);
    const uint64_t farthest = farthest_start(qcow1, file_bytes);

    if (list->count > 0 && list->offsets[list->count - 1] > farthest)
        return fail_at(err, BYRE_E_CORRUPT, list->offsets[list->count - 1],
                       "an L2 table at offset %" PRIu64
                       " lies far past the end of the file; copy the disk to a "
                       "new image to write",
                       list->offsets[list->count - 1]);
    if (!qcow1->space.is_device)
        qcow1_space_raise_end(
            &qcow1->space,
            align_up(min_u64(file_bytes, STORE_MAX_OFFSET), cluster));
    return count_clusters(qcow1, list, farthest, err);
}

int qcow1_find_space(struct qcow1 *qcow1, struct byre_error *err)
{
    const bool is_device = qcow1->store->identity.is_device;
    struct table_list list = { 0 };
    uint64_t file_bytes;
    int r;

    r = store_get_size(qcow1->store, &file_bytes, err);
    if (r < 0)
        return r;

    qcow1->space.is_device = is_device;
    qcow1->space.limit = is_device ? file_bytes : STORE_MAX_OFFSET;
    r = list_tables(qcow1, &list, err);
    if (r == BYRE_OK)
        r = add_structures(qcow1, &list, err);
    if (r == BYRE_OK)
        r = find_end(qcow1, &list, file_bytes, err);
    free(list.offsets);
    return r;
}

/* ---- Opening ---- */

static int check_writable(const struct qcow1 *qcow1, struct byre_error *err)
{
    if (qcow1->store->ops.write == NULL || qcow1->store->ops.flush == NULL)
        return fail(err, BYRE_E_STATE,
                    "the store has no functions to write and flush");
    return BYRE_OK;
}

/* All of the table, as far as the file may still have to grow to hold it. */
static int hold_l1(struct qcow1 *qcow1, struct byre_error *err)
{
    const uint64_t entries = qcow1_l1_entries(&qcow1->header);

    if (entries * 8 > qcow1->limits.max_table_bytes)
        return fail(err, BYRE_E_LIMIT,
                    "L1 table takes %" PRIu64
                    " bytes to write, more than the limit of %" PRIu64,
                    entries * 8, qcow1->limits.max_table_bytes);
    return l1_reload(&qcow1->l1, qcow1->store, qcow1->header.l1_offset, entries,
                     qcow1->limits.max_table_bytes, err);
}

static int set_up_writer(struct qcow1 *qcow1,
                         const struct write_options *options,
                         struct byre_error *err)
{
    qcow1->writer = (struct writer){
        .engine = &qcow1->engine,
        .ops = &qcow1_writer_ops,
        .store = qcow1->store,
        .data_store = qcow1->store,
        .transfer = &qcow1->transfer,
        .tables = qcow1->tables,
        .l1 = &qcow1->l1,
        .backing = options->backing,
    };
    return writer_init(&qcow1->writer, CODEC_DEFLATE, err);
}

int qcow1_prepare_write(struct engine *engine,
                        const struct write_options *options,
                        struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    int r;

    qcow1_writable_done(qcow1);
    table_cache_forget_all(qcow1->tables);
    qcow1_space_init(&qcow1->space);
    qcow1->has_writer = true;

    r = check_writable(qcow1, err);
    if (r == BYRE_OK)
        r = hold_l1(qcow1, err);
    if (r == BYRE_OK)
        r = qcow1_find_space(qcow1, err);
    if (r == BYRE_OK)
        r = set_up_writer(qcow1, options, err);
    if (r == BYRE_OK)
        engine->writable = true;
    else
        qcow1_writable_done(qcow1);
    return r;
}

void qcow1_writable_done(struct qcow1 *qcow1)
{
    if (!qcow1->has_writer)
        return;
    writer_done(&qcow1->writer);
    qcow1_space_done(&qcow1->space);
    qcow1->has_writer = false;
}

/* ---- Writing, flushing, closing ---- */

int qcow1_write(struct engine *engine, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err)
{
    return writer_write(&qcow1_of(engine)->writer, offset, buf, length, flags,
                        order, err);
}

/* No entry says zero: what does not read so is written. */
int qcow1_zero(struct engine *engine, uint64_t offset, uint64_t length,
               uint32_t flags, struct byre_error *err)
{
    struct writer *writer = &qcow1_of(engine)->writer;
    int r;

    r = writer_check(writer, err);
    if (r < 0)
        return r;
    return writer_write_zeroes(writer, offset, length, flags, err);
}

/* The format gives nothing up; an image that ended writing says so. */
int qcow1_discard(struct engine *engine, uint64_t offset, uint64_t length,
                  struct byre_error *err)
{
    (void)offset;
    (void)length;
    return writer_check(&qcow1_of(engine)->writer, err);
}

int qcow1_flush(struct engine *engine, struct byre_error *err)
{
    return writer_flush(&qcow1_of(engine)->writer, err);
}

int qcow1_finish(struct engine *engine, struct byre_error *err)
{
    return writer_flush(&qcow1_of(engine)->writer, err);
}

/* What could not be written stays in memory, for readers. */
int qcow1_end_write(struct engine *engine, struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    struct byre_error why = { 0 };
    int r;

    r = writer_flush(&qcow1->writer, &why);
    engine->writable = false;
    if (r == BYRE_OK) {
        qcow1_writable_done(qcow1);
        return BYRE_OK;
    }
    writer_stick(&qcow1->writer, &why);
    if (err != NULL)
        *err = why;
    return r;
}

void qcow1_set_backing(struct engine *engine,
                       const struct engine_backing *backing)
{
    qcow1_of(engine)->writer.backing = *backing;
}
