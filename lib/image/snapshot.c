/* SPDX-License-Identifier: MIT */
/*
 * Snapshots and VM state: what the public calls check, and the gate around the
 * engine's.
 */
#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "image/image.h"

static int check_call(const struct byre *img, bool has_call,
                      struct byre_error *err)
{
    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
    if (!has_call)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s: a %s image cannot have snapshots", img->name,
                    img->engine->format);
    return BYRE_OK;
}

static int named(const struct byre *img, int r, struct byre_error *err)
{
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}

int byre_snapshot_create(struct byre *img,
                         const struct byre_snapshot_options *opts,
                         struct byre_error *err)
{
    struct byre_snapshot_options options;
    int r;

    if (opts == NULL)
        return fail(err, BYRE_E_INVALID, "options with a name are required");
    r = sized_copy_in(opts, sizeof(opts->size), &options, sizeof(options),
                      "struct byre_snapshot_options", err);
    if (r < 0)
        return r;
    r = check_call(
        img, img != NULL && img->engine->ops->snapshot_create != NULL, err);
    if (r < 0)
        return r;
    if (options.name == NULL)
        return fail(err, BYRE_E_INVALID, "a snapshot needs a name");

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = img->engine->ops->snapshot_create(img->engine, &options, err);
    return image_change_end(img, r, err);
}

static int check_ref(const struct byre_snapshot_ref *ref,
                     struct byre_error *err)
{
    if (ref->id_or_name == NULL && ref->id == NULL && ref->name == NULL)
        return fail(err, BYRE_E_INVALID,
                    "which snapshot is to be said, by id or by name");
    if (ref->id_or_name != NULL && (ref->id != NULL || ref->name != NULL))
        return fail(err, BYRE_E_INVALID,
                    "a snapshot is chosen by 'id or name', or by what of both "
                    "is known, not by all of them");
    return BYRE_OK;
}

int byre_snapshot_apply(struct byre *img, const struct byre_snapshot_ref *ref,
                        struct byre_error *err)
{
    int r;

    r = check_call(img, img != NULL && img->engine->ops->snapshot_apply != NULL,
                   err);
    if (r == BYRE_OK && ref == NULL)
        r = fail(err, BYRE_E_INVALID, "a snapshot is required");
    if (r == BYRE_OK)
        r = check_ref(ref, err);
    if (r < 0)
        return r;

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = img->engine->ops->snapshot_apply(img->engine, ref, err);
    return image_change_end(img, r, err);
}

int byre_snapshot_delete(struct byre *img, const struct byre_snapshot_ref *refs,
                         size_t count, struct byre_error *err)
{
    int r;

    r = check_call(
        img, img != NULL && img->engine->ops->snapshot_delete != NULL, err);
    if (r == BYRE_OK && refs == NULL && count > 0)
        r = fail(err, BYRE_E_INVALID, "snapshots are required");
    for (size_t i = 0; r == BYRE_OK && i < count; i++)
        r = check_ref(&refs[i], err);
    if (r < 0)
        return r;

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = img->engine->ops->snapshot_delete(img->engine, refs, count, err);
    return image_change_end(img, r, err);
}

/* ---- VM state ---- */

static int check_vm_state(const struct byre *img, bool has_call,
                          const void *buf, size_t length,
                          struct byre_error *err)
{
    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
    if (!has_call)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s: a %s image cannot have VM state", img->name,
                    img->engine->format);
    if (img->metadata_only)
        return fail(err, BYRE_E_STATE,
                    "%s: the image was opened for its description only",
                    img->name);
    if (buf == NULL && length > 0)
        return fail(err, BYRE_E_INVALID, "a buffer is required");
    return BYRE_OK;
}

int byre_vm_state_read(struct byre *img, uint64_t offset, void *buf,
                       size_t length, struct byre_error *err)
{
    struct gate_pass pass;
    int r;

    r = check_vm_state(img,
                       img != NULL && img->engine->ops->vm_state_read != NULL,
                       buf, length, err);
    if (r < 0 || length == 0)
        return r;

    pass = image_enter(img);
    r = img->engine->ops->vm_state_read(img->engine, offset, buf, length, err);
    image_leave(img, pass);
    return named(img, r, err);
}

static int reserve(struct byre *img, uint64_t bytes, struct byre_error *err)
{
    int r = BYRE_OK;

    gate_close(&img->engine->gate);
    if (img->engine->writable) /* otherwise the next try says so */
        r = img->engine->ops->vm_state_reserve(img->engine, bytes, err);
    gate_open(&img->engine->gate);
    return r;
}

int byre_vm_state_write(struct byre *img, uint64_t offset, const void *buf,
                        size_t length, struct byre_error *err)
{
    int r;

    r = check_vm_state(img,
                       img != NULL && img->engine->ops->vm_state_write != NULL,
                       buf, length, err);
    if (r < 0 || length == 0)
        return r;

    do {
        const struct gate_pass pass = image_enter(img);

        r = img->engine->writable
                ? img->engine->ops->vm_state_write(img->engine, offset, buf,
                                                   length, err)
                : fail(err, BYRE_E_STATE, "the image is open for reading only");
        image_leave(img, pass);
        if (r == ENGINE_NEEDS_ROOM) {
            r = reserve(img, offset + length, err);
            if (r == BYRE_OK)
                r = ENGINE_NEEDS_ROOM;
        }
    } while (r == ENGINE_NEEDS_ROOM);
    return named(img, r, err);
}
