/* SPDX-License-Identifier: MIT */
/*
 * Another recorded name of what the image stands on.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "qcow2/head.h"

/* What others take. */
#define MOST_NAME_BYTES   1023
#define MOST_FORMAT_BYTES 15

static int check_name(const struct qcow2 *qcow2, const char *name,
                      const char *format, struct byre_error *err)
{
    if (name == NULL)
        return BYRE_OK;
    if (strlen(name) > MOST_NAME_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the backing file name has %zu bytes, more than the limit "
                    "of %d",
                    strlen(name), MOST_NAME_BYTES);
    if (format != NULL && strlen(format) > MOST_FORMAT_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the backing format has %zu bytes, more than the limit of "
                    "%d",
                    strlen(format), MOST_FORMAT_BYTES);
    if (qcow2->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the data file reads as the disk by itself, which it "
                    "would no more with a backing file; amend data_file_raw "
                    "to off first");
    return BYRE_OK;
}

static int store_names(struct qcow2 *qcow2, const char *name,
                       const char *format, struct byre_error *err)
{
    struct head head;
    int r;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    r = head_set_backing_name(&head, name, err);
    if (r == BYRE_OK)
        r = head_set_extension(
            &head, QCOW2_EXT_BACKING_FORMAT, name != NULL ? format : NULL,
            name != NULL && format != NULL ? (uint32_t)strlen(format) : 0, err);
    if (r == BYRE_OK)
        r = head_store(qcow2, &head, err);
    head_done(&head);
    return r;
}

int qcow2_set_backing_name(struct engine *engine, const char *name,
                           const char *format, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    r = writer_check(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = check_name(qcow2, name, format, err);
    if (r == BYRE_OK)
        r = writer_flush(&qcow2->writer, err);
    return r < 0 ? r : store_names(qcow2, name, format, err);
}
