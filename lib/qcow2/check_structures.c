/* SPDX-License-Identifier: MIT */
/*
 * Repairs that write a structure anew and switch to it: the snapshot table, the
 * bitmap directory, and data that shares its cluster with a structure.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/check.h"
#include "qcow2/head.h"

/* ---- Snapshots: what version 3 asks for, and no more than the limit ---- */

static struct qcow2_snapshot complete(const struct qcow2_snapshot *snapshot)
{
    struct qcow2_snapshot whole = *snapshot;

    if (whole.extra_bytes < QCOW2_SNAPSHOT_EXTRA_BYTES)
        whole.extra_bytes = QCOW2_SNAPSHOT_EXTRA_BYTES;
    if (whole.extra_bytes > QCOW2_MAX_SNAPSHOT_EXTRA_BYTES) {
        whole.extra_bytes = QCOW2_MAX_SNAPSHOT_EXTRA_BYTES;
        whole.unknown_extra_bytes =
            QCOW2_MAX_SNAPSHOT_EXTRA_BYTES - QCOW2_SNAPSHOT_EXTRA_BYTES;
    }
    return whole;
}

static int encode_table(const struct snapshot_list *list, uint8_t **ret_table,
                        size_t *ret_bytes, struct byre_error *err)
{
    struct qcow2_snapshot whole;
    size_t bytes = 0, at = 0;
    uint8_t *table;

    for (size_t i = 0; i < list->count; i++) {
        whole = complete(&list->entries[i]);
        bytes += qcow2_snapshot_bytes(&whole);
    }
    if (bytes > QCOW2_MAX_SNAPSHOT_TABLE_BYTES)
        return fail(err, BYRE_E_LIMIT, "the snapshot table takes %zu bytes",
                    bytes);
    table = malloc(bytes + 1);
    if (table == NULL)
        return fail_nomem(err, "the snapshot table", bytes);
    for (size_t i = 0; i < list->count; i++) {
        whole = complete(&list->entries[i]);
        qcow2_snapshot_encode(&whole, table + at);
        at += qcow2_snapshot_bytes(&whole);
    }
    *ret_table = table;
    *ret_bytes = bytes;
    return BYRE_OK;
}

static int switch_snapshots(struct qcow2 *qcow2, uint64_t offset,
                            struct byre_error *err)
{
    struct head head;
    int r;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    head.header.snapshots_offset = offset;
    r = head_store(qcow2, &head, err);
    head_done(&head);
    return r;
}

static void report_completed(struct check *check)
{
    const struct snapshot_list *list = &check->qcow2->snapshots;
    const struct check_place place = {
        .object = "snapshot table",
        .host_offset = check->qcow2->header.snapshots_offset,
        .guest_offset = BYRE_NO_OFFSET,
    };

    for (size_t i = 0; i < list->count; i++) {
        if (list->entries[i].extra_bytes < 16)
            check_found(check, BYRE_FINDING_CORRUPTION, true, &place,
                        "snapshot %zu does not record all that version 3 asks "
                        "for",
                        i + 1);
        if (list->entries[i].extra_bytes > QCOW2_MAX_SNAPSHOT_EXTRA_BYTES)
            check_found(check, BYRE_FINDING_CORRUPTION, true, &place,
                        "snapshot %zu has more extra data than the limit of "
                        "1024 bytes, and the rest of it is dropped",
                        i + 1);
    }
}

static void forget_snapshots(struct qcow2 *qcow2)
{
    qcow2_snapshots_free(&qcow2->snapshots);
    qcow2->snapshots_loaded = false;
}

int check_complete_snapshots(struct check *check, struct byre_error *err)
{
    struct qcow2 *qcow2 = check->qcow2;
    uint8_t *table = NULL;
    uint64_t offset = 0;
    size_t bytes = 0;
    int r;

    r = encode_table(&qcow2->snapshots, &table, &bytes, err);
    if (r < 0)
        return r;
    r = check_take(check, bytes, &offset, err);
    if (r == BYRE_OK)
        r = store_write(qcow2->store, offset, table, bytes, err);
    if (r == BYRE_OK)
        r = store_flush(qcow2->store, err);
    if (r == BYRE_OK)
        r = switch_snapshots(qcow2, offset, err);
    free(table);
    if (r < 0)
        return r;
    report_completed(check);
    forget_snapshots(qcow2);
    return BYRE_OK;
}

/* ---- Bitmaps: those up to the first that cannot be read ---- */

struct readable {
    uint32_t count;
    uint64_t bytes;
};

static int find_readable(struct qcow2 *qcow2, struct readable *ret,
                         struct byre_error *err)
{
    const struct qcow2_bitmaps_extension *extension = &qcow2->bitmaps_extension;
    const size_t length = (size_t)extension->directory_bytes;
    struct qcow2_bitmap_entry entry;
    size_t entry_bytes;
    uint8_t *raw = malloc(length + 1);
    int r;

    if (raw == NULL)
        return fail_nomem(err, "the bitmap directory", length);
    *ret = (struct readable){ 0 };
    r = store_read(qcow2->store, extension->directory_offset, raw, length, err);
    while (r == BYRE_OK && ret->count < extension->bitmap_count &&
           qcow2_bitmap_entry_decode(
               raw + ret->bytes, length - (size_t)ret->bytes,
               qcow2->header.cluster_bits,
               align_down(qcow2->header.size_bytes, ENGINE_SECTOR_BYTES),
               &entry, &entry_bytes, NULL) == BYRE_OK) {
        ret->count++;
        ret->bytes += entry_bytes;
    }
    free(raw);
    return r;
}

/* The readable ones are at the start of the directory: it only ends earlier. */
static int shorten_directory(struct head *head,
                             const struct qcow2_bitmaps_extension *old,
                             const struct readable *readable,
                             struct byre_error *err)
{
    const struct qcow2_bitmaps_extension extension = {
        .bitmap_count = readable->count,
        .directory_bytes = readable->bytes,
        .directory_offset = old->directory_offset,
    };
    uint8_t data[24];

    if (readable->count == 0) {
        head->header.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
        return head_set_extension(head, QCOW2_EXT_BITMAPS, NULL, 0, err);
    }
    qcow2_bitmaps_extension_encode(&extension, data);
    return head_set_extension(head, QCOW2_EXT_BITMAPS, data, sizeof(data), err);
}

static void take_readable(struct qcow2 *qcow2, const struct readable *readable)
{
    bitmap_set_done(&qcow2->bitmaps);
    qcow2->bitmaps_loaded = false;
    qcow2->bitmaps_damaged = false;
    qcow2->has_bitmaps = readable->count > 0;
    qcow2->bitmaps_extension.bitmap_count = readable->count;
    qcow2->bitmaps_extension.directory_bytes = readable->bytes;
}

int check_shorten_bitmaps(struct check *check, struct byre_error *err)
{
    struct qcow2 *qcow2 = check->qcow2;
    const uint64_t before =
        qcow2->bitmaps_damaged ? 0 : qcow2->bitmaps_extension.bitmap_count;
    const struct check_place place = {
        .object = "bitmap directory",
        .host_offset = qcow2->bitmaps_extension.directory_offset,
        .guest_offset = BYRE_NO_OFFSET,
    };
    struct readable readable = { 0 };
    struct head head;
    int r = BYRE_OK;

    if (!qcow2->bitmaps_damaged)
        r = find_readable(qcow2, &readable, err);
    if (r == BYRE_OK)
        r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    r = shorten_directory(&head, &qcow2->bitmaps_extension, &readable, err);
    if (r == BYRE_OK)
        r = head_store(qcow2, &head, err);
    head_done(&head);
    if (r < 0)
        return r;
    take_readable(qcow2, &readable);
    check_found(check, BYRE_FINDING_CORRUPTION, true, &place,
                "the bitmap directory cannot be read from entry %" PRIu32
                " of %" PRIu64 " on: the bitmaps before it are kept",
                readable.count + 1, before);
    return BYRE_OK;
}

/* ---- Data in the cluster of a structure ---- */

struct part {
    struct check *check;
    uint8_t *cluster;
    bool may_write; /* the table that is walked is the active disk's alone */
};

static int copy_cluster(struct part *part, const struct reference *ref,
                        struct byre_error *err)
{
    struct check *check = part->check;
    struct qcow2 *qcow2 = check->qcow2;
    const size_t bytes = (size_t)check->cluster_bytes;
    uint64_t offset = 0;
    uint8_t word[8];
    int r;

    r = check_take(check, bytes, &offset, err);
    if (r == BYRE_OK)
        r = store_read(qcow2->store, ref->offset, part->cluster, bytes, err);
    if (r == BYRE_OK)
        r = store_write(qcow2->store, offset, part->cluster, bytes, err);
    if (r == BYRE_OK)
        r = store_flush(qcow2->store, err);
    if (r < 0)
        return r;
    be64_put(word, (ref->raw & ~QCOW2_ENTRY_OFFSET_MASK) | offset |
                       QCOW2_ENTRY_COPIED);
    r = store_write(qcow2->store,
                    ref->table_offset +
                        ref->index * UINT64_C(8) * qcow2->entry_words,
                    word, sizeof(word), err);
    if (r == BYRE_OK)
        r = store_flush(qcow2->store, err);
    if (r == BYRE_OK)
        check_owners_copied(check, ref);
    return r;
}

static int visit(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    struct part *part = user;
    struct check *check = part->check;

    if (ref->owner == REFERENCE_L1_TABLE)
        return !check_may_write_table(check, ref);
    if (ref->owner == REFERENCE_L2_TABLE)
        return !ref->copied || !check_may_write_table(check, ref);
    if (ref->owner != REFERENCE_DATA || ref->faults != 0 ||
        !check_owners_overlap(&check->owners, check->cluster_bytes, ref->offset,
                              ref->bytes))
        return BYRE_OK;
    return copy_cluster(part, ref, err);
}

int check_part_data(struct check *check, struct byre_error *err)
{
    struct part part = {
        .check = check,
        .cluster = malloc((size_t)check->cluster_bytes),
    };
    int r;

    if (part.cluster == NULL)
        return fail_nomem(err, "a cluster", (size_t)check->cluster_bytes);
    r = references_walk(check->qcow2, REFERENCES_ACTIVE, visit, &part, err);
    free(part.cluster);
    return r;
}
