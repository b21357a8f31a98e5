/* SPDX-License-Identifier: MIT */
/*
 * Changes of how an open image is open: for reading or for writing, and on what
 * it stands.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "image/names.h"
#include "image/request.h"

/* ---- Writing ---- */

static int check_may_write(const struct byre *img, struct byre_error *err)
{
    if (img->metadata_only)
        return fail(err, BYRE_E_STATE,
                    "the image was opened for its description only");
    if (img->open_flags & BYRE_OPEN_SHARED)
        return fail(err, BYRE_E_STATE,
                    "the image was opened to be shared with a writer; to write "
                    "it, open it without");
    /* What a second barrier says proves nothing. */
    if (image_failed_flushes(img) != img->failed_flushes)
        return fail(err, BYRE_E_STATE,
                    "a flush has failed; close the image and open it again to "
                    "write it");
    if (img->is_snapshot)
        return fail(err, BYRE_E_STATE, "a snapshot can only be read");
    return BYRE_OK;
}

static int lock(const struct byre *img, bool writes, struct byre_error *err)
{
    int r;

    r = lock_image(img, img->engine->format, writes, err);
    if (r == BYRE_OK && img->data_store != NULL)
        r = lock_data_file(img, writes, err);
    return r;
}

static int make_stores_writable(struct byre *img, uint32_t flags,
                                struct byre_error *err)
{
    const bool no_sync = (flags & BYRE_OPEN_NO_SYNC) != 0;
    int r;

    r = store_make_writable(img->store, img->path, no_sync, err);
    if (r == BYRE_OK && img->data_store != NULL)
        r = store_make_writable(img->data_store, img->data_path, no_sync, err);
    return r;
}

/* A file that is open for writing already is not written, if that fails. */
static int begin_write(struct byre *img, uint32_t flags, struct byre_error *err)
{
    int r;

    if (img->engine->writable)
        return BYRE_OK;
    r = check_may_write(img, err);
    if (r < 0)
        return r;

    r = lock(img, true, err);
    if (r == BYRE_OK)
        r = make_stores_writable(img, flags, err);
    if (r == BYRE_OK)
        r = img->engine->ops->prepare_write == NULL
                ? fail(err, BYRE_E_UNSUPPORTED, "a %s image can only be read",
                       img->engine->format)
                : image_prepare_write(img, flags, err);
    if (r < 0)
        lock(img, false, NULL);
    return r;
}

static int end_write(struct byre *img, struct byre_error *err)
{
    int r;

    if (!img->engine->writable)
        return BYRE_OK;
    r = img->engine->ops->end_write(img->engine, err);
    lock(img, false, NULL); /* for less than it has: nobody is in the way */
    return r;
}

int byre_reopen(struct byre *img, uint32_t flags, struct byre_error *err)
{
    const uint32_t known =
        BYRE_OPEN_WRITE | BYRE_OPEN_KEEP_SPACE | BYRE_OPEN_NO_SYNC;
    int r;

    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
    if (flags & ~known)
        return fail(err, BYRE_E_INVALID, "unknown flags 0x%x to reopen with",
                    flags & ~known);

    pthread_rwlock_wrlock(&img->writing);
    gate_close(&img->engine->gate);
    r = flags & BYRE_OPEN_WRITE ? begin_write(img, flags, err)
                                : end_write(img, err);
    gate_open(&img->engine->gate);
    pthread_rwlock_unlock(&img->writing);
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}

/* ---- What it stands on ---- */

/* The new names, until they take the place of the old ones. */
struct names {
    char *backing_name;
    char *backing_format;
    char *resolved;
};

static void names_free(struct names *names)
{
    free(names->backing_name);
    free(names->backing_format);
    free(names->resolved);
}

static int names_make(const struct byre *img, const char *name,
                      const char *format, struct names *ret,
                      struct byre_error *err)
{
    int r = BYRE_OK;

    *ret = (struct names){ NULL, NULL, NULL };
    if (name != NULL)
        r = engine_copy_string(name, strlen(name), &ret->backing_name, err);
    if (r == BYRE_OK && name != NULL && format != NULL)
        r = engine_copy_string(format, strlen(format), &ret->backing_format,
                               err);
    if (r == BYRE_OK && name != NULL)
        name_resolve(img->path, name, &ret->resolved, NULL);
    if (r < 0)
        names_free(ret);
    return r;
}

static void swap_names(struct byre *img, struct names *names)
{
    const struct names old = { img->engine->backing_name,
                               img->engine->backing_format,
                               img->backing_resolved };

    img->engine->backing_name = names->backing_name;
    img->engine->backing_format = names->backing_format;
    img->backing_resolved = names->resolved;
    *names = old;
}

/* With the gate closed.  *backing becomes what it stood on. */
static int switch_closed(struct byre *img, struct names *names,
                         struct new_backing *backing, struct byre_error *err)
{
    const struct new_backing old = { img->backing, img->backing_is_lent };
    struct engine *engine = img->engine;
    struct engine_backing lent;
    int r;

    if (!engine->writable)
        return fail(err, BYRE_E_STATE, "the image is open for reading only");
    r = engine->ops->set_backing_name(engine, names->backing_name,
                                      names->backing_format, err);
    if (r < 0)
        return r;

    swap_names(img, names);
    img->backing = backing->image;
    img->backing_is_lent = backing->is_lent;
    lent = image_engine_backing(img);
    engine->ops->set_backing(engine, &lent);
    *backing = old;
    return BYRE_OK;
}

int image_switch_backing(struct byre *img, const char *name, const char *format,
                         struct new_backing *backing, struct byre_error *err)
{
    struct names names;
    int r;

    if (img->engine->ops->set_backing_name == NULL)
        return fail(err, BYRE_E_UNSUPPORTED, "a %s disk has no backing file",
                    img->engine->format);
    r = names_make(img, name, format, &names, err);
    if (r < 0)
        return r;

    gate_close(&img->engine->gate);
    r = switch_closed(img, &names, backing, err);
    gate_open(&img->engine->gate);
    names_free(&names);
    if (r == BYRE_OK)
        new_backing_close(backing);
    return r;
}

int byre_set_backing(struct byre *img, const char *name, const char *format,
                     const struct byre_open_options *open, uint32_t flags,
                     struct byre_error *err)
{
    struct new_backing backing = { NULL, false };
    int r = BYRE_OK;

    if (img == NULL || (flags & ~BYRE_BACKING_UNCHECKED) != 0 ||
        (name != NULL && name[0] == '\0'))
        return fail(err, BYRE_E_INVALID,
                    "another backing file needs an image, a name or NULL, and "
                    "flags that are known");
    if (name != NULL && (flags & BYRE_BACKING_UNCHECKED) == 0)
        r = new_backing_open(img, name, format, open, &backing, err);
    if (r == BYRE_OK)
        r = image_switch_backing(img, name, format, &backing, err);
    if (r < 0) {
        new_backing_close(&backing);
        error_prefix(err, "%s", img->name);
    }
    return r;
}

/* ---- Nothing of its own ---- */

int image_empty(struct byre *img, const struct engine_progress *progress,
                struct byre_error *err)
{
    int r;

    pthread_rwlock_wrlock(&img->writing);
    gate_close(&img->engine->gate);
    if (!img->engine->writable)
        r = fail(err, BYRE_E_STATE, "the image is open for reading only");
    else if (img->backing == NULL || img->engine->ops->empty == NULL)
        r = fail(err, BYRE_E_STATE,
                 "the image stands on nothing, and is not emptied");
    else
        r = img->engine->ops->empty(img->engine, progress, err);
    gate_open(&img->engine->gate);
    pthread_rwlock_unlock(&img->writing);
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}
