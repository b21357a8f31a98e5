/* SPDX-License-Identifier: MIT */
/*
 * Changing what an image is, in steps each of which leaves a whole image: the
 * newer version first, for what follows may need it; then the width of
 * refcounts, the data file, lazy refcounts, the size; the older version last.
 *
 * The caller is alone, and everything is flushed before the first step: what is
 * held in memory is then what the file has.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "qcow2/amend_parts.h"
#include "qcow2/head.h"
#include "qcow2/header_write.h"

struct rebuild_options amend_rebuild_options(const struct amend *amend)
{
    return (struct rebuild_options){
        .refcount_order = amend->refcount_order,
        .progress = amend->progress,
        .budget_bytes = AMEND_BUDGET_BYTES,
    };
}

/* A rebuild that was refused or ended before its switch of the header. */
static bool is_as_before(const struct qcow2 *qcow2, uint64_t old_table, int r)
{
    return qcow2->header.refcount_table_offset == old_table &&
           (r == BYRE_E_CANCELED || r == BYRE_E_CORRUPT || r == BYRE_E_LIMIT ||
            r == BYRE_E_NOMEM);
}

int amend_rebuild(struct amend *amend, struct byre_error *err)
{
    const struct rebuild_options options = amend_rebuild_options(amend);
    struct qcow2 *qcow2 = amend->qcow2;
    const uint64_t old_table = qcow2->header.refcount_table_offset;
    struct byre_error why = { 0 };
    int r;

    r = qcow2_rebuild_as(qcow2, &options, &why);
    if (r == BYRE_OK)
        r = qcow2_reload_structures(qcow2, &why);
    if (r < 0 && !is_as_before(qcow2, old_table, r))
        writer_stick(&qcow2->writer, &why);
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

/* ---- Steps within the header ---- */

static int set_features(struct amend *amend, uint64_t compatible,
                        uint64_t autoclear, struct byre_error *err)
{
    struct qcow2 *qcow2 = amend->qcow2;
    const struct qcow2_header *header = &qcow2->header;
    struct byre_error why = { 0 };
    int r;

    if (header->compatible == compatible && header->autoclear == autoclear)
        return BYRE_OK;
    r = header_write_features(qcow2, header->incompatible, compatible,
                              autoclear, &why);
    return header_write_settle(qcow2, r, &why, err);
}

/* The file stays the one that is open. */
static int set_data_file(struct amend *amend, struct byre_error *err)
{
    struct qcow2 *qcow2 = amend->qcow2;
    const char *name = amend->opts->data_file;
    const size_t bytes = name != NULL ? strlen(name) : 0;
    char *copy = NULL;
    struct head head;
    int r;

    if (!amend_takes(amend, BYRE_AMEND_DATA_FILE))
        return BYRE_OK;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    if (bytes > 0)
        r = engine_copy_string(name, bytes, &copy, err);
    if (r == BYRE_OK)
        r = head_set_extension(&head, QCOW2_EXT_DATA_FILE,
                               bytes > 0 ? name : NULL, (uint32_t)bytes, err);
    if (r == BYRE_OK)
        r = head_store(qcow2, &head, err);
    head_done(&head);
    if (r < 0) {
        free(copy);
        return r;
    }
    free(qcow2->engine.data_file_name);
    qcow2->engine.data_file_name = copy;
    return BYRE_OK;
}

static int set_data_file_raw(struct amend *amend, struct byre_error *err)
{
    const struct qcow2_header *header = &amend->qcow2->header;

    if (!amend_takes(amend, BYRE_AMEND_DATA_FILE_RAW) ||
        amend->opts->data_file_raw != 0)
        return BYRE_OK;
    return set_features(amend, header->compatible,
                        header->autoclear & ~QCOW2_AUTOCLEAR_DATA_FILE_RAW,
                        err);
}

/* An image on its way to version 2 has no use for it. */
static int set_lazy_refcounts(struct amend *amend, struct byre_error *err)
{
    const struct qcow2_header *header = &amend->qcow2->header;
    uint64_t compatible = header->compatible & ~QCOW2_COMPAT_LAZY_REFCOUNTS;

    if (header->version < 3)
        return BYRE_OK;
    if (amend->lazy_refcounts)
        compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
    return set_features(amend, compatible, header->autoclear, err);
}

/* ---- All of it ---- */

static int set_refcount_width(struct amend *amend, struct byre_error *err)
{
    if (amend->refcount_order == amend->qcow2->header.refcount_order)
        return BYRE_OK;
    return amend_rebuild(amend, err);
}

static int set_size(struct amend *amend, struct byre_error *err)
{
    struct engine *engine = &amend->qcow2->engine;
    int r;

    if (amend->size_bytes == engine->size_bytes)
        return BYRE_OK;
    r = qcow2_resize(engine, amend->size_bytes, BYRE_PREALLOCATION_OFF, err);
    return r < 0 ? r : qcow2_settle(amend->qcow2, err);
}

static int set_version(struct amend *amend, struct byre_error *err)
{
    const uint32_t now = amend->qcow2->header.version;

    if (amend->version > now)
        return amend_upgrade(amend, err);
    return BYRE_OK;
}

static int set_old_version(struct amend *amend, struct byre_error *err)
{
    int r = BYRE_OK;

    if (amend->version >= amend->qcow2->header.version)
        return BYRE_OK;
    if (amend->has_zeroes)
        r = amend_expand_zeroes(amend, err);
    return r < 0 ? r : amend_downgrade(amend, err);
}

int qcow2_amend(struct engine *engine, const struct byre_amend_options *opts,
                const struct engine_progress *progress, struct byre_error *err)
{
    static int (*const steps[])(struct amend * amend,
                                struct byre_error * err) = {
        amend_check,   set_version,       set_refcount_width,
        set_data_file, set_data_file_raw, set_lazy_refcounts,
        set_size,      set_old_version,
    };
    struct qcow2 *qcow2 = qcow2_of(engine);
    struct amend amend = { .qcow2 = qcow2, .opts = opts, .progress = progress };
    int r;

    r = qcow2_write_all(qcow2, err);
    for (size_t i = 0; r == BYRE_OK && i < sizeof(steps) / sizeof(steps[0]);
         i++)
        r = steps[i](&amend, err);
    return r;
}
