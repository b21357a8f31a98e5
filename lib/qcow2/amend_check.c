/* SPDX-License-Identifier: MIT */
/*
 * What an image becomes when it is amended, and whether it may: all that can be
 * told is told before the first step.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/amend_parts.h"
#include "qcow2/references.h"

/* ---- What it becomes ---- */

static int find_version(struct amend *amend, struct byre_error *err)
{
    amend->version = amend_takes(amend, BYRE_AMEND_VERSION)
                         ? amend->opts->version
                         : amend->qcow2->header.version;
    if (amend->version != 2 && amend->version != 3)
        return fail(err, BYRE_E_INVALID,
                    "version %" PRIu32 " of QCOW2: there are 2 and 3",
                    amend->version);
    return BYRE_OK;
}

static int find_width(struct amend *amend, struct byre_error *err)
{
    const uint32_t bits = amend->opts->refcount_bits;
    uint32_t order = 0;

    amend->refcount_order = amend->qcow2->header.refcount_order;
    if (amend_takes(amend, BYRE_AMEND_REFCOUNT_BITS)) {
        while (order < QCOW2_MAX_REFCOUNT_ORDER && (1u << order) < bits)
            order++;
        if (bits != 1u << order)
            return fail(err, BYRE_E_INVALID,
                        "Refcount width must be a power of two and may not "
                        "exceed 64 bits, which %" PRIu32 " is not",
                        bits);
        amend->refcount_order = order;
    }
    if (amend->version < 3 && amend->refcount_order != 4)
        return fail(err, BYRE_E_INVALID,
                    "version 2 (compat=0.10) has refcounts of 16 bits only, "
                    "not of %u: choose refcount_bits=16 or version 3",
                    1u << amend->refcount_order);
    return BYRE_OK;
}

static int find_lazy(struct amend *amend, struct byre_error *err)
{
    const bool now =
        (amend->qcow2->header.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS) != 0;

    amend->lazy_refcounts = amend_takes(amend, BYRE_AMEND_LAZY_REFCOUNTS)
                                ? amend->opts->lazy_refcounts != 0
                                : now;
    if (amend->version >= 3)
        return BYRE_OK;
    if (amend->lazy_refcounts && !now)
        return fail(err, BYRE_E_INVALID,
                    "version 2 (compat=0.10) has no lazy refcounts: choose "
                    "version 3");
    amend->lazy_refcounts = false;
    return BYRE_OK;
}

static int find_size(struct amend *amend, struct byre_error *err)
{
    const struct qcow2 *qcow2 = amend->qcow2;
    /* The newer version comes before the size, the older one after it. */
    const uint32_t version = amend->version > qcow2->header.version
                                 ? amend->version
                                 : qcow2->header.version;

    amend->size_bytes = qcow2->engine.size_bytes;
    if (!amend_takes(amend, BYRE_AMEND_SIZE) ||
        amend->opts->size_bytes == amend->size_bytes)
        return BYRE_OK;

    amend->size_bytes = amend->opts->size_bytes;
    if (!is_aligned(amend->size_bytes, ENGINE_SECTOR_BYTES))
        return fail(err, BYRE_E_INVALID,
                    "The new size must be a multiple of 512, which %" PRIu64
                    " is not",
                    amend->size_bytes);
    if (amend->size_bytes > STORE_MAX_OFFSET)
        return fail(err, BYRE_E_LIMIT,
                    "the new size %" PRIu64 " is past the limit of %" PRIu64,
                    amend->size_bytes, STORE_MAX_OFFSET);
    return qcow2_check_resize(qcow2, version, amend->size_bytes, err);
}

/* ---- The data file ---- */

static int check_data_file(const struct amend *amend, struct byre_error *err)
{
    const struct qcow2 *qcow2 = amend->qcow2;
    const bool external = qcow2->engine.needs_data_file;
    const bool raw =
        (qcow2->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0;

    if (amend_takes(amend, BYRE_AMEND_DATA_FILE) && !external)
        return fail(err, BYRE_E_INVALID,
                    "data_file: the clusters of this image are not in an "
                    "external data file; convert makes an image with one");
    if (!amend_takes(amend, BYRE_AMEND_DATA_FILE_RAW) ||
        (amend->opts->data_file_raw != 0) == raw)
        return BYRE_OK;
    if (!raw)
        return fail(err, BYRE_E_INVALID,
                    "data_file_raw can be given up, but not set on an existing "
                    "image; convert makes an image that has it");
    return BYRE_OK;
}

/* ---- The older version ---- */

static int check_features(struct amend *amend, struct byre_error *err)
{
    const struct qcow2 *qcow2 = amend->qcow2;
    const struct byre_bitmap *unused_list;
    size_t bitmaps = 0;
    int r;

    if (qcow2->engine.needs_data_file)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "version 2 (compat=0.10) has no external data files, and "
                    "this image has one; convert makes one without");
    if (qcow2_has_extended_l2(&qcow2->header))
        return fail(err, BYRE_E_UNSUPPORTED,
                    "version 2 (compat=0.10) has no extended L2 entries, and "
                    "this image has them; convert makes one without");
    r = qcow2_bitmaps(&amend->qcow2->engine, &unused_list, &bitmaps, err);
    if (r == BYRE_OK && bitmaps > 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "version 2 (compat=0.10) has no bitmaps, and this image "
                    "has %zu; bitmap --remove removes one",
                    bitmaps);
    return r;
}

/* Version 2 says of no snapshot how long its disk was. */
static int check_snapshots(struct amend *amend, struct byre_error *err)
{
    const struct byre_snapshot *list;
    size_t count;
    int r;

    r = qcow2_snapshots(&amend->qcow2->engine, &list, &count, err);
    for (size_t i = 0; r == BYRE_OK && i < count; i++) {
        if (list[i].virtual_size_bytes != amend->size_bytes)
            return fail(
                err, BYRE_E_UNSUPPORTED,
                "version 2 (compat=0.10) wants all snapshots as long "
                "as the disk, %" PRIu64 " bytes, and snapshot %s has %" PRIu64
                ": delete it first",
                amend->size_bytes, list[i].id, list[i].virtual_size_bytes);
        if (list[i].vm_state_bytes > UINT32_MAX)
            return fail(err, BYRE_E_UNSUPPORTED,
                        "version 2 (compat=0.10) holds at most %" PRIu32
                        " bytes of VM state, and snapshot %s has %" PRIu64
                        ": delete it first",
                        UINT32_MAX, list[i].id, list[i].vm_state_bytes);
    }
    return r;
}

struct survey {
    bool zeroes;
    uint64_t compressed_at; /* the first; BYRE_NO_OFFSET: none */
};

static int survey_entry(void *user, const struct reference *ref,
                        struct byre_error *err)
{
    struct survey *survey = user;

    (void)err;
    if (ref->kind == L2_ZERO || ref->kind == L2_ZERO_ALLOC)
        survey->zeroes = true;
    if (ref->owner == REFERENCE_COMPRESSED &&
        survey->compressed_at == BYRE_NO_OFFSET)
        survey->compressed_at = ref->guest_offset;
    return BYRE_OK;
}

/* Growing hides what a longer backing file has, before the version changes. */
static bool will_cover_backing(const struct amend *amend)
{
    return amend->size_bytes > amend->qcow2->engine.size_bytes &&
           amend->qcow2->header.backing_offset != 0;
}

static int check_entries(struct amend *amend, struct byre_error *err)
{
    struct survey survey = { .compressed_at = BYRE_NO_OFFSET };
    int r;

    r = references_walk(amend->qcow2,
                        REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS |
                            REFERENCES_ZEROES,
                        survey_entry, &survey, err);
    if (r < 0)
        return r;
    if (amend->qcow2->header.compression_type == QCOW2_COMPRESSION_ZSTD &&
        survey.compressed_at != BYRE_NO_OFFSET)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "version 2 (compat=0.10) compresses by zlib only, and the "
                    "cluster of guest offset %" PRIu64
                    " is compressed by zstd; convert makes an image without",
                    survey.compressed_at);
    amend->has_zeroes = survey.zeroes || will_cover_backing(amend);
    return BYRE_OK;
}

static int check_downgrade(struct amend *amend, struct byre_error *err)
{
    int r;

    if (amend->version >= amend->qcow2->header.version)
        return BYRE_OK;
    r = check_features(amend, err);
    if (r == BYRE_OK)
        r = check_snapshots(amend, err);
    return r < 0 ? r : check_entries(amend, err);
}

/* ---- Counting ---- */

/* A rebuild looks before it writes; not so what comes before it. */
static int check_rebuild(const struct amend *amend, struct byre_error *err)
{
    const struct rebuild_options options = amend_rebuild_options(amend);
    const struct qcow2_header *header = &amend->qcow2->header;
    const bool width_is_first = amend->version <= header->version;

    if (!amend->has_zeroes &&
        (width_is_first || amend->refcount_order == header->refcount_order))
        return BYRE_OK;
    return qcow2_rebuild_check(amend->qcow2, &options, err);
}

int amend_check(struct amend *amend, struct byre_error *err)
{
    static int (*const checks[])(struct amend * amend,
                                 struct byre_error * err) = {
        find_version, find_width, find_lazy, find_size
    };
    int r = BYRE_OK;

    for (size_t i = 0; r == BYRE_OK && i < sizeof(checks) / sizeof(checks[0]);
         i++)
        r = checks[i](amend, err);
    if (r == BYRE_OK)
        r = check_data_file(amend, err);
    if (r == BYRE_OK)
        r = check_downgrade(amend, err);
    return r < 0 ? r : check_rebuild(amend, err);
}
