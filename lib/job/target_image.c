/* SPDX-License-Identifier: MIT */
/*
 * A target that is an image: made or found, and opened for writing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "image/names.h"
#include "job/target.h"

/* What an opened target leaves to the caller of the job. */
#define POLICY_FLAGS                                                           \
    (BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |                   \
     BYRE_OPEN_PROBE_BACKING | BYRE_OPEN_NO_PROBE | BYRE_OPEN_NO_LOCK)

static uint32_t job_open_flags(uint32_t convert_flags)
{
    return BYRE_OPEN_WRITE |
           (convert_flags & BYRE_CONVERT_NO_SYNC ? BYRE_OPEN_NO_SYNC : 0) |
           (convert_flags & BYRE_CONVERT_DIRECT ? BYRE_OPEN_DIRECT : 0);
}

static const char *path_of(const char *name)
{
    return strncmp(name, "file:", 5) == 0 ? name + 5 : name;
}

/* ---- An existing image ---- */

static int check_existing(const struct target *target,
                          const struct target_request *request,
                          struct byre_error *err)
{
    const struct byre *img = target->image;
    int r;

    r = target_refuse_sources(request, &img->store->identity, err);
    if (r == BYRE_OK && img->data_store != NULL)
        r = target_refuse_sources(request, &img->data_store->identity, err);
    if (r == BYRE_OK)
        r = target_check_room(request, img->engine->size_bytes, err);
    if (r < 0 || !target->compress)
        return r;

    if (img->engine->cluster_bits == 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Compression not supported for this file format");
    if (img->engine->encryption != BYRE_ENCRYPTION_NONE)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Compression and encryption not supported at the same "
                    "time");
    if (img->engine->needs_data_file)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Compression and an external data file not supported at "
                    "the same time");
    return BYRE_OK;
}

static int open_existing(struct target *target,
                         const struct target_request *request,
                         struct byre_error *err)
{
    struct byre_open_options open = *request->open;
    int r;

    open.flags = (open.flags & POLICY_FLAGS) | job_open_flags(request->flags);
    r = byre_open(request->name, &open, &target->image, err);
    if (r < 0) {
        error_prefix(err, "Could not open '%s'", request->name);
        return r;
    }
    target->image->engine->reuses_nothing = true;
    target->reads_zero = (request->flags & BYRE_CONVERT_TARGET_IS_ZERO) != 0;
    return check_existing(target, request, err);
}

/* ---- A new image ---- */

static int get_passphrase(void *user, const char *secret_id,
                          const char *image_name, void *buf, size_t capacity,
                          size_t *ret_length, struct byre_error *err)
{
    const struct byre_create_options *create = user;

    (void)secret_id;
    (void)image_name;
    if (create->passphrase_bytes > capacity)
        return fail(err, BYRE_E_INVALID,
                    "the passphrase has %zu bytes, more than the limit of %zu",
                    create->passphrase_bytes, capacity);
    if (create->passphrase_bytes > 0)
        memcpy(buf, create->passphrase, create->passphrase_bytes);
    *ret_length = create->passphrase_bytes;
    return BYRE_OK;
}

static void forget_snapshot(struct byre_open_options *open)
{
    open->snapshot = NULL;
    open->snapshot_id = NULL;
    open->snapshot_name = NULL;
}

/*
 * The backing file is opened here and not by the image: the caller has told its
 * format, which version 1 cannot record, and who asks for what lies below it.
 */
static int open_backing(struct target *target,
                        const struct target_request *request,
                        struct byre_error *err)
{
    const struct byre_open_options defaults = BYRE_OPEN_OPTIONS_INIT;
    const struct byre_create_options *create = request->create;
    struct byre_open_options open =
        request->open != NULL ? *request->open : defaults;
    char *name;
    int r;

    if (create->backing_name == NULL)
        return BYRE_OK;
    r = name_resolve(path_of(request->name), create->backing_name, &name, err);
    if (r < 0)
        return r;

    open.flags &= POLICY_FLAGS;
    forget_snapshot(&open);
    open.format = create->backing_format;
    open.passphrase_file = NULL; /* of the target */
    open.data_store = NULL;
    open.backing = NULL;
    r = byre_open(name, &open, &target->backing, err);
    if (r < 0)
        error_prefix(err, "Could not open backing file '%s'", name);
    else
        target->backing_bytes = target->backing->engine->size_bytes;
    free(name);
    return r;
}

static int open_made(struct target *target,
                     const struct target_request *request,
                     struct byre_error *err)
{
    const struct byre_create_options *create = request->create;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    int r;

    if (request->open != NULL)
        open = *request->open; /* its budgets */
    forget_snapshot(&open);
    open.format = create->format != NULL ? create->format : "qcow2";
    open.flags = job_open_flags(request->flags) | BYRE_OPEN_FOLLOW_DATA_FILE;
    open.user = (void *)create;
    open.allow_ref = NULL;
    open.get_secret = get_passphrase;
    open.passphrase_file = NULL;
    open.data_store = create->data_store;
    open.backing = target->backing;
    r = byre_open(request->name, &open, &target->image, err);
    if (r == BYRE_OK)
        target->image->engine->reuses_nothing = true;
    return r;
}

/* Whether what is not written reads as zeroes. */
static bool new_reads_zero(const struct byre_create_options *create)
{
    return create->backing_name == NULL &&
           (create->flags & BYRE_CREATE_KEEP_DATA_FILE) == 0 &&
           (create->preallocation == BYRE_PREALLOCATION_OFF ||
            create->encryption == BYRE_ENCRYPTION_NONE);
}

/* A data file that byre_create() makes or empties. */
static const char *new_data_file(const struct byre_create_options *create)
{
    return create->data_store == NULL &&
                   (create->flags & BYRE_CREATE_KEEP_DATA_FILE) == 0
               ? create->data_file
               : NULL;
}

static int refuse_files(const struct target_request *request,
                        struct byre_error *err)
{
    struct store_identity identity =
        target_file_identity(path_of(request->name));
    int r;

    r = target_refuse_sources(request, &identity, err);
    if (r == BYRE_OK && request->create->data_file != NULL) {
        identity = target_file_identity(request->create->data_file);
        r = target_refuse_sources(request, &identity, err);
    }
    return r;
}

/* byre_create() refuses it too, but the backing file is locked by then. */
static int refuse_backing(const struct target *target,
                          const struct target_request *request,
                          struct byre_error *err)
{
    const struct store_identity identity =
        target_file_identity(path_of(request->name));

    if (target->backing != NULL && chain_uses_file(target->backing, &identity))
        return fail(err, BYRE_E_INVALID,
                    "the target '%s' is the backing file, or one below it",
                    request->name);
    return BYRE_OK;
}

/* The files that the image was made of are the target's to take back. */
static int note_files(struct target *target,
                      const struct byre_create_options *create,
                      const char *path, struct byre_error *err)
{
    const char *data_file = new_data_file(create);
    int r;

    r = target_file_made(&target->file, path, err);
    if (r == BYRE_OK && data_file != NULL)
        r = target_file_made(&target->data, data_file, err);
    return r;
}

/* Somebody else was quicker, and has it now. */
static void give_up_files(struct target *target)
{
    target_file_close(&target->file, false);
    target_file_close(&target->data, false);
}

static int make_image(struct target *target,
                      const struct target_request *request,
                      struct byre_error *err)
{
    struct byre_create_options create = *request->create;
    const char *path = path_of(request->name);
    int r;

    create.virtual_size_bytes = request->size_bytes;
    create.flags |= BYRE_CREATE_ROUND_SIZE;
    if (request->flags & BYRE_CONVERT_NO_SYNC)
        create.flags |= BYRE_CREATE_NO_SYNC;

    target_file_look(&target->file, path);
    if (new_data_file(&create) != NULL)
        target_file_look(&target->data, create.data_file);
    r = byre_create(request->name, &create, err);
    if (r < 0)
        return r;

    r = note_files(target, &create, path, err);
    if (r < 0)
        return r;
    r = open_made(target, request, err);
    if (r == BYRE_E_LOCKED)
        give_up_files(target);
    if (r < 0)
        return r;

    target->reads_zero = new_reads_zero(&create);
    return BYRE_OK;
}

int target_prepare_image(struct target *target,
                         const struct target_request *request,
                         struct byre_error *err)
{
    int r;

    if (request->flags & BYRE_CONVERT_NO_CREATE) {
        const struct store_identity identity =
            target_file_identity(path_of(request->name));

        r = target_refuse_sources(request, &identity, err);
        return r < 0 ? r : open_existing(target, request, err);
    }
    r = refuse_files(request, err);
    if (r == BYRE_OK)
        r = open_backing(target, request, err);
    if (r == BYRE_OK)
        r = refuse_backing(target, request, err);
    return r < 0 ? r : make_image(target, request, err);
}
