/* SPDX-License-Identifier: MIT */
/*
 * The files an image names: opened if the caller allows it, in the format that
 * is recorded, and never guessed at (docs/open-policy.md).
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "image/locate.h"
#include "image/names.h"
#include "image/request.h"
#include "store/file.h"

static int ask_permission(const struct request *request,
                          const struct byre_ref *ref, struct byre_error *err)
{
    const struct byre_open_options *opts = request->opts;
    struct byre_error scratch;

    if (opts->allow_ref == NULL)
        return BYRE_OK;
    return opts->allow_ref(opts->user, ref, err != NULL ? err : &scratch);
}

/* The stored name is a plain path, relative to the current folder, and nothing
   else (measured on QEMU 7.2). */
static int open_named_data_file(const struct request *request,
                                const struct byre *img,
                                struct byre_store **ret_store,
                                struct byre_error *err)
{
    const char *stored = img->engine->data_file_name;
    const struct byre_ref ref = {
        .kind = BYRE_REF_DATA_FILE,
        .depth = request->depth + 1,
        .image_name = img->name,
        .stored = stored,
        .resolved = stored,
        .format = "raw",
    };
    int r;

    if (stored == NULL)
        return fail(err, BYRE_E_INVALID,
                    "'data-file' is required for this image: it does not name "
                    "one itself");
    if ((request->opts->flags & BYRE_OPEN_FOLLOW_DATA_FILE) == 0)
        return fail(err, BYRE_E_POLICY,
                    "the image needs its data file '%s', and opening it is not "
                    "allowed",
                    stored);

    r = ask_permission(request, &ref, err);
    if (r < 0)
        return r;

    r = file_store_open(stored,
                        request_file_flags(request->opts, request->depth),
                        ret_store, err);
    if (r < 0)
        error_prefix(err, "data file");
    return r;
}

/*
 * A tree of the caller's says itself what to open.  One that an image has
 * stored is the image's, and names one file only: the one that was asked about.
 */
static int check_given(const struct request *request, const struct node *given,
                       const char *key, struct byre_error *err)
{
    const char *format = locate_format(given);

    if (request->stored)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the stored name of '%s' has a '%s' of its own, '%s', "
                    "which is not followed",
                    request->name, key, node_path(given));
    if (strcmp(key, "data-file") == 0 && format != NULL &&
        strcmp(format, "raw") != 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the data file '%s' is given as %s; a data file is raw",
                    node_path(given), format);
    return BYRE_OK;
}

/* The image guards its data file: others may write it, not resize it.
   (Measured on QEMU 7.2, tests/interop.) */
int lock_data_file(const struct byre *img, bool writes, struct byre_error *err)
{
    const uint32_t flags = img->open_flags;

    /* Without a path it is the caller's. */
    if ((flags & BYRE_OPEN_NO_LOCK) || img->data_path == NULL)
        return BYRE_OK;
    if (writes)
        return file_store_lock(img->data_store,
                               FILE_LOCK_READ | FILE_LOCK_WRITE |
                                   FILE_LOCK_RESIZE,
                               FILE_LOCK_RESIZE, img->data_path, err);
    return file_store_lock(
        img->data_store, FILE_LOCK_READ,
        flags & BYRE_OPEN_SHARED ? 0 : FILE_LOCK_WRITE | FILE_LOCK_RESIZE,
        img->data_path, err);
}

int request_open_data_file(const struct request *request, struct byre *img,
                           struct byre_error *err)
{
    const struct node *given =
        request->node != NULL ? request->node->data_file : NULL;
    struct byre_store *file = NULL;
    const char *path = img->engine->data_file_name;
    int r;

    if (!img->engine->needs_data_file)
        return BYRE_OK;

    if (request->depth == 0 && request->opts->data_store != NULL) {
        img->data_store = store_ref(request->opts->data_store);
        img->engine->ops->set_data_store(img->engine, img->data_store);
        return BYRE_OK;
    }
    if (given != NULL) {
        path = node_path(given);
        r = check_given(request, given, "data-file", err);
        if (r == BYRE_OK)
            r = locate_store(given,
                             request_file_flags(request->opts, request->depth),
                             &img->data_store, &file, err);
        byre_store_unref(file);
    } else {
        r = open_named_data_file(request, img, &img->data_store, err);
    }
    if (r < 0)
        return r;

    img->data_path = strdup(path);
    if (img->data_path == NULL)
        return fail_nomem(err, "a name", strlen(path));
    img->engine->ops->set_data_store(img->engine, img->data_store);
    return lock_data_file(img, request_writes(request), err);
}

/* Opens the backing image of a name taken apart; `stored` is the image's, and
   `recorded` the format it has with it. */
static int open_backing_node(const struct request *request,
                             const struct node *node, const char *stored,
                             const char *recorded, const struct byre *img,
                             struct byre **ret_backing, struct byre_error *err)
{
    const struct ancestor self = { img, request->above };
    const char *format = locate_format(node);
    struct request below = {
        .opts = request->opts,
        .node = node,
        .stored = stored != NULL || request->stored,
        .name = stored != NULL ? stored : node_path(node),
        .path = node_path(node),
        .format = format,
        .depth = request->depth + 1,
        .above = &self,
    };
    int r;

    if (format == NULL && stored != NULL)
        below.format = recorded;
    r = locate_store(node, request_file_flags(request->opts, below.depth),
                     &below.store, &below.file, err);
    if (r < 0) {
        error_prefix(err, "Could not open backing file '%s'", below.name);
        return r;
    }
    r = request_open(&below, ret_backing, err);
    byre_store_unref(below.store);
    byre_store_unref(below.file);
    return r;
}

static int open_resolved(const struct request *request, const char *name,
                         const char *format, const struct byre *img,
                         struct byre **ret_backing, struct byre_error *err)
{
    struct node *node;
    int r;

    r = node_parse(name, &node, err);
    if (r < 0) {
        error_prefix(err, "Could not open backing file '%s'", name);
        return r;
    }
    r = open_backing_node(request, node, name, format, img, ret_backing, err);
    node_free(node);
    return r;
}

static int open_named_backing(const struct request *request, struct byre *img,
                              struct byre_error *err)
{
    const struct engine *engine = img->engine;
    const struct byre_ref ref = {
        .kind = BYRE_REF_BACKING,
        .depth = request->depth + 1,
        .image_name = img->name,
        .stored = engine->backing_name,
        .resolved = img->backing_resolved,
        .format = engine->backing_format,
    };
    int r;

    if ((request->opts->flags & BYRE_OPEN_FOLLOW_BACKING) == 0)
        return fail(err, BYRE_E_POLICY,
                    "the image needs its backing file '%s', and opening it is "
                    "not allowed",
                    engine->backing_name);
    if (img->backing_resolved == NULL) {
        r = name_resolve(request->path, engine->backing_name,
                         &img->backing_resolved, err);
        if (r < 0)
            return r;
    }

    r = ask_permission(request, &ref, err);
    if (r < 0)
        return r;

    return open_resolved(request, img->backing_resolved, engine->backing_format,
                         img, &img->backing, err);
}

static int check_lent(const struct byre *backing, struct byre_error *err)
{
    if (backing->metadata_only || backing->check_only)
        return fail(err, BYRE_E_STATE,
                    "the backing image was opened for its description or a "
                    "check only");
    if (backing->engine->writable)
        return fail(err, BYRE_E_STATE,
                    "the backing image is open for writing; what stands on it "
                    "must not change");
    return BYRE_OK;
}

int request_open_backing(const struct request *request, struct byre *img,
                         struct byre_error *err)
{
    const struct node *node = request->node;
    int r;

    if (request->depth == 0 && request->opts->backing != NULL) {
        r = check_lent(request->opts->backing, err);
        if (r < 0)
            return r;
        img->backing = request->opts->backing;
        img->backing_is_lent = true;
        return BYRE_OK;
    }
    if ((request->opts->flags & BYRE_OPEN_NO_BACKING) ||
        (node != NULL && node->no_backing))
        return BYRE_OK;
    if (node != NULL && node->backing != NULL) {
        r = check_given(request, node->backing, "backing", err);
        if (r < 0)
            return r;
        return open_backing_node(request, node->backing, NULL, NULL, img,
                                 &img->backing, err);
    }
    if (img->engine->backing_name == NULL)
        return BYRE_OK;
    return open_named_backing(request, img, err);
}

/* The policy of one call; what it says of the top image is for another one. */
#define POLICY_FLAGS                                                           \
    (BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |                   \
     BYRE_OPEN_PROBE_BACKING | BYRE_OPEN_NO_PROBE | BYRE_OPEN_SHARED |         \
     BYRE_OPEN_NO_LOCK | BYRE_OPEN_DIRECT)

/* The name is the caller's word: it needs no permission, what lies below does.
 */
static int open_new(struct byre *img, const char *name, const char *format,
                    const struct byre_open_options *opts,
                    struct byre **ret_backing, struct byre_error *err)
{
    const struct request request = { .opts = opts,
                                     .name = img->name,
                                     .path = img->path };
    char *resolved = NULL;
    int r;

    r = name_resolve(img->path, name, &resolved, err);
    if (r == BYRE_OK)
        r = open_resolved(&request, resolved, format, img, ret_backing, err);
    free(resolved);
    return r;
}

static bool stands_on(const struct byre *img, const struct byre *other)
{
    if (chain_uses_file(img, &other->store->identity))
        return true;
    while (img != NULL && img != other)
        img = img->backing;
    return img != NULL;
}

int new_backing_open(struct byre *img, const char *name, const char *format,
                     const struct byre_open_options *opts,
                     struct new_backing *ret, struct byre_error *err)
{
    struct new_backing backing = { NULL, false };
    struct byre_open_options known;
    int r;

    r = check_options(opts, &known, err);
    if (r < 0)
        return r;
    known.flags = opts == NULL
                      ? BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE
                      : known.flags & POLICY_FLAGS;
    if (known.backing == NULL) {
        r = open_new(img, name, format, &known, &backing.image, err);
    } else {
        backing = (struct new_backing){ known.backing, true };
        r = check_lent(backing.image, err);
        if (r == BYRE_OK && stands_on(backing.image, img))
            r = fail(err, BYRE_E_CORRUPT,
                     "the backing file '%s' creates an infinite loop", name);
    }
    if (r == BYRE_OK)
        *ret = backing;
    return r;
}

void new_backing_close(struct new_backing *backing)
{
    if (!backing->is_lent)
        byre_close(backing->image, NULL);
    backing->image = NULL;
}
