/* SPDX-License-Identifier: MIT */
/*
 * What a version 1 image stands on: another name, and leaving all of the disk
 * to it.  The caller is alone.
 */
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow1/internal.h"

/* ---- The name ---- */

/* Where and how long the name is: bytes 8 to 20 of the header. */
#define NAME_FIELDS_OFFSET 8
#define NAME_FIELDS_BYTES  12

/* The longest name, in whole sectors. */
#define NAME_ROOM_BYTES 1024

/* Others' writers fill no cluster from the backing file: only where a cluster
   is a sector does that not lose data (format-facts: copy-on-write). */
static int check_name(const struct qcow1 *qcow1, const char *name,
                      struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow1->engine);

    if (name == NULL)
        return BYRE_OK;
    if (strlen(name) > QCOW1_MAX_BACKING_NAME_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the backing file name has %zu bytes, more than the limit "
                    "of %d",
                    strlen(name), QCOW1_MAX_BACKING_NAME_BYTES);
    if (cluster > ENGINE_SECTOR_BYTES)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "a version 1 image with clusters of %" PRIu64
                    " bytes gets no backing file, since other programs would "
                    "lose data of it; make an overlay with create",
                    cluster);
    return BYRE_OK;
}

/* Behind all that is in use, so that the old name stays until the header does
   not point to it any more. */
static int write_name(struct qcow1 *qcow1, const char *name,
                      uint64_t *ret_offset, struct byre_error *err)
{
    const uint64_t bytes = align_up(strlen(name), ENGINE_SECTOR_BYTES);
    uint8_t buf[NAME_ROOM_BYTES];
    uint64_t offset;
    int r;

    memset(buf, 0, sizeof(buf));
    memcpy(buf, name, strlen(name));
    r = qcow1_space_take(&qcow1->space, bytes, ENGINE_SECTOR_BYTES, &offset,
                         err);
    if (r == BYRE_OK)
        r = qcow1_space_add(&qcow1->space, QCOW1_BACKING_NAME, offset, bytes,
                            err);
    if (r == BYRE_OK)
        r = store_write(qcow1->store, offset, buf, (size_t)bytes, err);
    if (r == BYRE_OK)
        *ret_offset = offset;
    return r;
}

/* A write of the header that fails may have arrived. */
static int switch_name(struct qcow1 *qcow1, uint64_t offset, uint32_t bytes,
                       struct byre_error *err)
{
    struct byre_error why = { 0 };
    uint8_t fields[NAME_FIELDS_BYTES];
    int r;

    be64_put(fields, offset);
    be32_put(fields + 8, bytes);
    r = store_write(qcow1->store, NAME_FIELDS_OFFSET, fields, sizeof(fields),
                    &why);
    if (r < 0)
        writer_stick(&qcow1->writer, &why);
    else
        r = writer_barrier(&qcow1->writer, &why);
    if (r < 0) {
        if (err != NULL)
            *err = why;
        return r;
    }
    qcow1->header.backing_offset = offset;
    qcow1->header.backing_bytes = bytes;
    return BYRE_OK;
}

int qcow1_set_backing_name(struct engine *engine, const char *name,
                           const char *format, struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    uint64_t offset = 0;
    int r;

    (void)format; /* the image has no place for it */
    r = writer_check(&qcow1->writer, err);
    if (r == BYRE_OK)
        r = check_name(qcow1, name, err);
    if (r == BYRE_OK && name != NULL)
        r = write_name(qcow1, name, &offset, err);
    if (r == BYRE_OK)
        r = writer_flush(&qcow1->writer, err);
    if (r < 0)
        return r;
    return switch_name(qcow1, offset, name != NULL ? (uint32_t)strlen(name) : 0,
                       err);
}

/* ---- Emptying ---- */

static int drop_tables(struct qcow1 *qcow1, struct byre_error *err)
{
    int r = BYRE_OK;

    for (uint64_t i = 0; i < qcow1->l1.held && r == BYRE_OK; i++) {
        const uint64_t offset = l1_get(&qcow1->l1, i);

        if (offset == 0)
            continue;
        r = l1_set(&qcow1->l1, i, 0, err);
        if (r == BYRE_OK)
            table_cache_forget(qcow1->tables, offset, qcow1_l2_bytes(qcow1));
    }
    return r;
}

/* What is used again must be empty first: space is counted by its end. */
static int cut_file(struct qcow1 *qcow1, struct byre_error *err)
{
    const struct qcow1_header *header = &qcow1->header;
    const uint64_t l1_end = align_up(
        header->l1_offset + qcow1_l1_entries(header) * 8, ENGINE_SECTOR_BYTES);
    const uint64_t end =
        max_u64(l1_end, header->backing_offset + header->backing_bytes);
    uint64_t file_bytes;
    int r;

    if (qcow1->store->identity.is_device)
        return BYRE_OK;
    r = store_get_size(qcow1->store, &file_bytes, err);
    if (r == BYRE_OK && end < file_bytes)
        r = store_resize(qcow1->store, end, err);
    if (r == BYRE_OK)
        r = writer_barrier(&qcow1->writer, err);
    if (r < 0)
        return r;

    qcow1_space_done(&qcow1->space);
    qcow1_space_init(&qcow1->space);
    r = qcow1_find_space(qcow1, err);
    if (r < 0)
        writer_stick(&qcow1->writer, err);
    return r;
}

int qcow1_empty(struct engine *engine, const struct engine_progress *progress,
                struct byre_error *err)
{
    struct qcow1 *qcow1 = qcow1_of(engine);
    struct byre_error why = { 0 };
    int r;

    (void)progress; /* it is no long work */
    r = writer_flush(&qcow1->writer, err);
    if (r == BYRE_OK)
        r = drop_tables(qcow1, err);
    if (r == BYRE_OK)
        r = writer_flush(&qcow1->writer, err);
    if (r < 0)
        return r;
    r = cut_file(qcow1, &why);
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}
