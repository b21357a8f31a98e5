/* SPDX-License-Identifier: MIT */
/*
 * The header of the other version, in one switch of the head.
 *
 * Version 3 wants to know of each snapshot how long its disk was.  Where that
 * is not recorded the snapshot table is written anew, at another place, before
 * the head that names it there.
 */
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "engine/encoders.h"
#include "qcow2/allocator.h"
#include "qcow2/amend_parts.h"
#include "qcow2/head.h"

/* A v3 reader needs the first two fields of the extra data. */
#define LEAST_EXTRA_BYTES 16

static uint64_t cluster_bytes(const struct qcow2 *qcow2)
{
    return engine_cluster_bytes(&qcow2->engine);
}

/* ---- The snapshot table ---- */

/* The entry with all that is known of it written out. */
static struct qcow2_snapshot complete(const struct qcow2_snapshot *entry)
{
    struct qcow2_snapshot whole = *entry;

    whole.extra_bytes =
        (uint32_t)max_u64(whole.extra_bytes, QCOW2_SNAPSHOT_EXTRA_BYTES);
    return whole;
}

/* The bytes of the whole entries; *ret_short: of some too little is there. */
static uint64_t count_bytes(const struct snapshot_list *list, bool *ret_short)
{
    uint64_t bytes = 0;

    *ret_short = false;
    for (size_t i = 0; i < list->count; i++) {
        const struct qcow2_snapshot whole = complete(&list->entries[i]);

        *ret_short =
            *ret_short || list->entries[i].extra_bytes < LEAST_EXTRA_BYTES;
        bytes += qcow2_snapshot_bytes(&whole);
    }
    return bytes;
}

static int write_entries(struct qcow2 *qcow2, const struct host_run *run,
                         struct byre_error *err)
{
    const size_t length = (size_t)(run->clusters * cluster_bytes(qcow2));
    uint8_t *buf = calloc(1, length);
    size_t at = 0;
    int r;

    if (buf == NULL)
        return fail_nomem(err, "a snapshot table", length);
    for (size_t i = 0; i < qcow2->snapshots.count; i++) {
        const struct qcow2_snapshot whole =
            complete(&qcow2->snapshots.entries[i]);

        qcow2_snapshot_encode(&whole, buf + at);
        at += qcow2_snapshot_bytes(&whole);
    }
    r = store_write(qcow2->store, run->offset, buf, length, err);
    free(buf);
    if (r < 0)
        error_prefix(err, "snapshot table");
    return r;
}

/* Durable, with its counts; *ret_run is empty where the old one will do. */
static int write_snapshots(struct qcow2 *qcow2, struct host_run *ret_run,
                           struct byre_error *err)
{
    const struct byre_snapshot *unused_list;
    size_t unused_count;
    uint64_t bytes;
    bool is_short;
    int r;

    r = qcow2_snapshots(&qcow2->engine, &unused_list, &unused_count, err);
    if (r < 0)
        return r;
    bytes = count_bytes(&qcow2->snapshots, &is_short);
    if (!is_short)
        return BYRE_OK;

    r = allocator_take_all(qcow2->allocator,
                           div_round_up(bytes, cluster_bytes(qcow2)), ret_run,
                           err);
    if (r < 0)
        return r;
    qcow2_raise_file_end(qcow2, ret_run->offset +
                                    ret_run->clusters * cluster_bytes(qcow2));
    r = write_entries(qcow2, ret_run, err);
    if (r == BYRE_OK)
        r = writer_flush(&qcow2->writer, err);
    if (r < 0) {
        allocator_give_back(qcow2->allocator, ret_run->offset,
                            ret_run->clusters * cluster_bytes(qcow2), NULL);
        *ret_run = (struct host_run){ 0 };
    }
    return r;
}

/* The new table is the image's: the old one goes. */
static int use_snapshots(struct qcow2 *qcow2, const struct host_run *run,
                         uint64_t old_offset, struct byre_error *err)
{
    const uint64_t old_bytes =
        align_up(qcow2->snapshots.table_bytes, cluster_bytes(qcow2));
    int r;

    if (run->clusters == 0)
        return BYRE_OK;
    for (size_t i = 0; i < qcow2->snapshots.count; i++)
        qcow2->snapshots.entries[i] = complete(&qcow2->snapshots.entries[i]);
    qcow2->snapshots.table_bytes = run->clusters * cluster_bytes(qcow2);
    r = metadata_remove(&qcow2->metadata, old_offset, old_bytes, err);
    if (r == BYRE_OK)
        r = metadata_add(&qcow2->metadata, METADATA_SNAPSHOT_TABLE, run->offset,
                         qcow2->snapshots.table_bytes, cluster_bytes(qcow2),
                         err);
    if (r == BYRE_OK)
        r = allocator_release(qcow2->allocator, old_offset, old_bytes, 0, err);
    return r < 0 ? r : qcow2_settle(qcow2, err);
}

/* ---- The header ---- */

/* Neither version vouches for bitmaps then: what is left of them goes. */
static int store_version(struct amend *amend, struct head *head,
                         uint32_t version, struct byre_error *err)
{
    struct qcow2_header *header = &head->header;
    int r = BYRE_OK;

    header->version = version;
    header->refcount_order = amend->qcow2->header.refcount_order;
    if (version < 3) {
        header->incompatible = 0;
        header->compatible = 0;
        header->autoclear = 0;
        header->compression_type = QCOW2_COMPRESSION_ZLIB;
    }
    if ((header->autoclear & QCOW2_AUTOCLEAR_BITMAPS) == 0)
        r = head_set_extension(head, QCOW2_EXT_BITMAPS, NULL, 0, err);
    if (r == BYRE_OK)
        r = head_store(amend->qcow2, head, err);
    if (r == BYRE_OK)
        amend->qcow2->l2_format.version = version;
    return r;
}

int amend_upgrade(struct amend *amend, struct byre_error *err)
{
    struct qcow2 *qcow2 = amend->qcow2;
    const uint64_t old_offset = qcow2->header.snapshots_offset;
    struct host_run run = { 0 };
    struct head head;
    int r;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    if (head.header.snapshot_count > 0)
        r = write_snapshots(qcow2, &run, err);
    if (run.clusters > 0)
        head.header.snapshots_offset = run.offset;
    if (r == BYRE_OK) {
        r = store_version(amend, &head, 3, err);
        if (r < 0 && run.clusters > 0)
            allocator_give_back(qcow2->allocator, run.offset,
                                run.clusters * cluster_bytes(qcow2), NULL);
    }
    head_done(&head);
    return r < 0 ? r : use_snapshots(qcow2, &run, old_offset, err);
}

/* No cluster is compressed yet; those to come are as version 2 has them. */
static int compress_by_zlib(struct qcow2 *qcow2, struct byre_error *err)
{
    const uint32_t bytes = (uint32_t)cluster_bytes(qcow2);
    struct cluster_reader *reader = NULL;
    struct encoders *encoders = NULL;
    int r;

    if (qcow2->header.compression_type == QCOW2_COMPRESSION_ZLIB)
        return BYRE_OK;
    r = cluster_reader_new(CODEC_DEFLATE, bytes,
                           qcow2->limits.cluster_cache_bytes, &reader, err);
    if (r == BYRE_OK)
        r = encoders_new(CODEC_DEFLATE, bytes, &encoders, err);
    if (r < 0) {
        cluster_reader_free(reader);
        return r;
    }
    cluster_reader_free(qcow2->transfer.clusters);
    qcow2->transfer.clusters = reader;
    encoders_free(qcow2->writer.encoders);
    qcow2->writer.encoders = encoders;
    return BYRE_OK;
}

/* A writer that compresses otherwise than its header says must write no more.
 */
int amend_downgrade(struct amend *amend, struct byre_error *err)
{
    struct byre_error why = { 0 };
    struct head head;
    int r;

    r = head_load(amend->qcow2, &head, err);
    if (r < 0)
        return r;
    r = compress_by_zlib(amend->qcow2, err);
    if (r == BYRE_OK) {
        r = store_version(amend, &head, 2, &why);
        if (r < 0)
            writer_stick(&amend->qcow2->writer, &why);
        if (r < 0 && err != NULL)
            *err = why;
    }
    head_done(&head);
    return r;
}
