/* SPDX-License-Identifier: MIT */
#include "job/convert_check.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/sized.h"
#include "engine/engine.h"
#include "raw/create.h"

#define DEFAULT_SPARSE_BYTES 4096

#define KNOWN_CONVERT_FLAGS                                                    \
    (BYRE_CONVERT_NO_CREATE | BYRE_CONVERT_TARGET_IS_ZERO |                    \
     BYRE_CONVERT_NO_SYNC | BYRE_CONVERT_SALVAGE | BYRE_CONVERT_DIRECT |       \
     BYRE_CONVERT_COMPRESS | BYRE_CONVERT_BITMAPS |                            \
     BYRE_CONVERT_SKIP_BROKEN_BITMAPS)

static int copy_structs(const struct byre_convert_options *given,
                        struct convert_options *ret, struct byre_error *err)
{
    int r;

    r = sized_copy_in(given, sizeof(size_t), &ret->job, sizeof(ret->job),
                      "struct byre_convert_options", err);
    if (r == BYRE_OK && ret->job.create != NULL) {
        r = sized_copy_in(ret->job.create, sizeof(size_t), &ret->create,
                          sizeof(ret->create), "struct byre_create_options",
                          err);
        ret->job.create = &ret->create;
    }
    if (r == BYRE_OK && ret->job.target_open != NULL) {
        r = sized_copy_in(ret->job.target_open, sizeof(size_t), &ret->open,
                          sizeof(ret->open), "struct byre_open_options", err);
        ret->job.target_open = &ret->open;
    }
    return r;
}

static int check_numbers(struct byre_convert_options *job,
                         struct byre_error *err)
{
    if (job->sparse_bytes == 0)
        job->sparse_bytes = DEFAULT_SPARSE_BYTES;
    if (job->sparse_bytes % ENGINE_SECTOR_BYTES != 0 &&
        job->sparse_bytes != BYRE_SPARSE_NONE)
        return fail(err, BYRE_E_INVALID,
                    "sparse_bytes is %" PRIu64 ", no multiple of %d",
                    job->sparse_bytes, ENGINE_SECTOR_BYTES);
    if (job->flags & ~KNOWN_CONVERT_FLAGS)
        return fail(err, BYRE_E_INVALID, "unknown convert flags 0x%x",
                    job->flags & ~KNOWN_CONVERT_FLAGS);
    return BYRE_OK;
}

static bool is_raw(const char *format)
{
    return format != NULL && strcmp(format, "raw") == 0;
}

/* What an existing target is shows only when it is opened. */
static int check_create(const struct byre_convert_options *job,
                        size_t source_count, struct byre_error *err)
{
    const struct byre_create_options *create = job->create;

    if (create != NULL && create->backing_name != NULL && source_count > 1)
        return fail(err, BYRE_E_INVALID,
                    "Having a backing file for the target makes no sense when "
                    "concatenating multiple input images");
    if (create != NULL && create->backing_name != NULL &&
        (job->flags & BYRE_CONVERT_TARGET_IS_ZERO) != 0)
        return fail(err, BYRE_E_INVALID,
                    "Cannot use --target-is-zero when the destination image "
                    "has a backing file");
    if (create == NULL || (job->flags & BYRE_CONVERT_NO_CREATE) != 0)
        return BYRE_OK;
    return is_raw(create->format) ? raw_create_check(create, err) : BYRE_OK;
}

static int check_compress(const struct byre_convert_options *job,
                          struct byre_error *err)
{
    const struct byre_create_options *create = job->create;
    const bool existing = (job->flags & BYRE_CONVERT_NO_CREATE) != 0;
    const char *conflict = NULL;

    if ((job->flags & BYRE_CONVERT_COMPRESS) == 0)
        return BYRE_OK;
    if (existing ? job->target_open == NULL || is_raw(job->target_open->format)
                 : create == NULL || is_raw(create->format))
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Compression not supported for this file format");
    if (existing)
        return BYRE_OK;

    if (create->encryption != BYRE_ENCRYPTION_NONE)
        conflict = "encryption";
    else if (create->preallocation != BYRE_PREALLOCATION_OFF)
        conflict = "preallocation";
    else if (create->data_file != NULL || create->data_store != NULL)
        conflict = "an external data file";
    if (conflict != NULL)
        return fail(err, BYRE_E_INVALID,
                    "Compression and %s not supported at the same time",
                    conflict);
    return BYRE_OK;
}

static int fail_no_bitmaps(const char *format, struct byre_error *err)
{
    return fail(err, BYRE_E_UNSUPPORTED,
                "Format driver '%s' does not support bitmaps", format);
}

/* An existing target shows what it is when bitmaps are added. */
static int check_bitmaps(const struct byre_convert_options *job,
                         size_t source_count, struct byre_error *err)
{
    const struct byre_create_options *create = job->create;
    const bool existing = (job->flags & BYRE_CONVERT_NO_CREATE) != 0;

    if ((job->flags & BYRE_CONVERT_SKIP_BROKEN_BITMAPS) != 0 &&
        (job->flags & BYRE_CONVERT_BITMAPS) == 0)
        return fail(err, BYRE_E_INVALID,
                    "Use of --skip-broken-bitmaps requires --bitmaps");
    if ((job->flags & BYRE_CONVERT_BITMAPS) == 0)
        return BYRE_OK;
    if (source_count > 1)
        return fail(err, BYRE_E_INVALID,
                    "Copying bitmaps only possible with single source");
    if (existing)
        return job->target_open == NULL || is_raw(job->target_open->format)
                   ? fail_no_bitmaps("raw", err)
                   : BYRE_OK;
    if (create == NULL || is_raw(create->format))
        return fail_no_bitmaps("raw", err);
    if (create->format != NULL && strcmp(create->format, "qcow2") != 0)
        return fail_no_bitmaps(create->format, err);
    return create->version == 2 ? fail_no_bitmaps("qcow2", err) : BYRE_OK;
}

/* What is not noted must be in the target by something below it. */
static int check_increment(const struct byre_convert_options *job,
                           size_t source_count, struct byre_error *err)
{
    if (job->bitmap == NULL)
        return BYRE_OK;
    if (source_count > 1)
        return fail(err, BYRE_E_INVALID,
                    "Copying what a bitmap has noted is only possible with "
                    "a single source");
    if ((job->flags & BYRE_CONVERT_TARGET_IS_ZERO) != 0)
        return fail(err, BYRE_E_INVALID,
                    "--target-is-zero cannot be with --bitmap: the target "
                    "stands on something");
    if ((job->flags & BYRE_CONVERT_NO_CREATE) != 0)
        return BYRE_OK;
    if (job->create == NULL || job->create->backing_name == NULL)
        return fail(err, BYRE_E_INVALID,
                    "--bitmap copies only what the bitmap has noted: it needs "
                    "a backing file for the target, or an existing one");
    return BYRE_OK;
}

int convert_check(const struct byre_convert_options *given, size_t source_count,
                  struct convert_options *ret, struct byre_error *err)
{
    const struct byre_convert_options defaults = BYRE_CONVERT_OPTIONS_INIT;
    int r = BYRE_OK;

    ret->job = defaults;
    if (given != NULL)
        r = copy_structs(given, ret, err);
    if (r == BYRE_OK)
        r = check_numbers(&ret->job, err);
    if (r == BYRE_OK)
        r = check_create(&ret->job, source_count, err);
    if (r == BYRE_OK)
        r = check_compress(&ret->job, err);
    if (r == BYRE_OK)
        r = check_bitmaps(&ret->job, source_count, err);
    if (r == BYRE_OK)
        r = check_increment(&ret->job, source_count, err);
    return r;
}
