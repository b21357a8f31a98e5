/* SPDX-License-Identifier: MIT */
#include "image/create_backing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/sized.h"
#include "image/create_file.h"
#include "image/image.h"
#include "image/names.h"

#define DEFAULT_CHAIN_DEPTH 200

/* What the caller may say about backing files; the rest is settled here. */
#define POLICY_FLAGS                                                           \
    (BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |                   \
     BYRE_OPEN_PROBE_BACKING | BYRE_OPEN_NO_PROBE | BYRE_OPEN_NO_LOCK)

static int add_file(struct create_backing *backing,
                    const struct store_identity *identity,
                    struct byre_error *err)
{
    struct store_identity *files =
        realloc(backing->files, (backing->count + 1) * sizeof(*files));

    if (files == NULL)
        return fail_nomem(err, "a backing chain",
                          (backing->count + 1) * sizeof(*files));
    files[backing->count] = *identity;
    backing->files = files;
    backing->count++;
    return BYRE_OK;
}

/* A file that is only named: it is not opened, and need not exist. */
static int add_named(struct create_backing *backing, const char *name,
                     struct byre_error *err)
{
    struct store_identity identity = { .known = true };
    struct stat st;

    if (name != NULL && strncmp(name, "file:", 5) == 0)
        name += 5;
    if (name == NULL || stat(name, &st) < 0)
        return BYRE_OK;
    identity.is_device = S_ISBLK(st.st_mode);
    identity.device = (uint64_t)(identity.is_device ? st.st_rdev : st.st_dev);
    identity.inode = identity.is_device ? 0 : (uint64_t)st.st_ino;
    return add_file(backing, &identity, err);
}

static int add_image(struct create_backing *backing, const struct byre *img,
                     struct byre_error *err)
{
    int r;

    r = add_file(backing, &img->store->identity, err);
    if (r == BYRE_OK)
        r = add_named(backing, img->engine->data_file_name, err);
    if (r == BYRE_OK)
        r = add_named(backing, img->backing_resolved, err);
    return r;
}

static int policy_of(const struct byre_create_options *opts,
                     struct byre_open_options *ret, struct byre_error *err)
{
    const struct byre_open_options defaults = BYRE_OPEN_OPTIONS_INIT;
    int r;

    *ret = defaults;
    if (opts->backing_open != NULL) {
        r = sized_copy_in(opts->backing_open, sizeof(size_t), ret, sizeof(*ret),
                          "struct byre_open_options", err);
        if (r < 0)
            return r;
    }
    ret->flags = (ret->flags & POLICY_FLAGS) | BYRE_OPEN_METADATA_ONLY |
                 BYRE_OPEN_SHARED;
    ret->snapshot = NULL;
    ret->snapshot_id = NULL;
    ret->snapshot_name = NULL;
    ret->data_store = NULL;
    ret->backing = NULL;
    return BYRE_OK;
}

/* Whether what `img` stands on may be opened to see what is below that. */
static int may_follow(const struct byre *img, uint32_t depth,
                      const struct byre_open_options *policy,
                      struct byre_error *err)
{
    const struct byre_ref ref = {
        .kind = BYRE_REF_BACKING,
        .depth = depth + 1,
        .image_name = img->name,
        .stored = img->engine->backing_name,
        .resolved = img->backing_resolved,
        .format = img->engine->backing_format,
    };
    struct byre_error scratch;
    int r;

    if (img->backing_resolved == NULL ||
        (policy->flags & BYRE_OPEN_FOLLOW_BACKING) == 0 ||
        (ref.format == NULL && (policy->flags & BYRE_OPEN_PROBE_BACKING) == 0))
        return 0;
    if (policy->allow_ref == NULL)
        return 1;
    r = policy->allow_ref(policy->user, &ref, err != NULL ? err : &scratch);
    return r < 0 ? r : 1;
}

static int open_below(const char *name, struct byre_open_options *policy,
                      const char *format, struct byre **ret_img,
                      struct byre_error *err)
{
    int r;

    policy->format = format;
    r = byre_open(name, policy, ret_img, err);
    if (r < 0)
        error_prefix(err, "Could not open backing file '%s'", name);
    return r;
}

/* Goes down from `img`, which it closes. */
static int walk(struct create_backing *backing, struct byre *img,
                struct byre_open_options *policy, struct byre_error *err)
{
    const uint32_t most = policy->max_chain_depth != 0 ? policy->max_chain_depth
                                                       : DEFAULT_CHAIN_DEPTH;
    struct byre *below;
    int r;

    for (uint32_t depth = 1;; depth++) {
        r = add_image(backing, img, err);
        if (r == BYRE_OK)
            r = may_follow(img, depth, policy, err);
        if (r <= 0)
            break;
        if (depth >= most) {
            r = fail(err, BYRE_E_LIMIT,
                     "the backing chain has more than the limit of %u images",
                     most);
            break;
        }
        r = open_below(img->backing_resolved, policy,
                       img->engine->backing_format, &below, err);
        if (r < 0)
            break;
        byre_close(img, NULL);
        img = below;
    }
    byre_close(img, NULL);
    return r;
}

/* Nothing is opened: only the file of that name is known not to be emptied. */
static int note_name(const char *name, struct create_backing *ret_backing,
                     struct byre_error *err)
{
    struct create_backing backing = { .size_bytes = BYRE_NO_OFFSET };
    int r;

    r = add_named(&backing, name, err);
    if (r == BYRE_OK)
        *ret_backing = backing;
    return r;
}

static int look_below(const struct byre_create_options *opts, const char *name,
                      struct create_backing *ret_backing,
                      struct byre_error *err)
{
    struct create_backing backing = { 0 };
    struct byre_open_options policy;
    struct byre *img = NULL;
    int r;

    r = policy_of(opts, &policy, err);
    if (r == BYRE_OK)
        r = open_below(name, &policy, opts->backing_format, &img, err);
    if (r < 0)
        return r;

    backing.size_bytes = img->engine->size_bytes;
    r = walk(&backing, img, &policy, err);
    if (r < 0) {
        create_backing_done(&backing);
        return r;
    }
    *ret_backing = backing;
    return BYRE_OK;
}

int create_backing_look(const struct byre_create_options *opts,
                        const char *path, struct create_backing *ret_backing,
                        struct byre_error *err)
{
    const bool unchecked = (opts->flags & BYRE_CREATE_BACKING_UNCHECKED) != 0;
    char *name = NULL;
    int r;

    r = name_resolve(path, opts->backing_name, &name, unchecked ? NULL : err);
    if (r < 0)
        return unchecked && r != BYRE_E_NOMEM ? BYRE_OK : r;

    r = unchecked ? note_name(name, ret_backing, err)
                  : look_below(opts, name, ret_backing, err);
    free(name);
    return r;
}

void create_backing_done(struct create_backing *backing)
{
    free(backing->files);
    *backing = (struct create_backing){ 0 };
}

int create_backing_refuse(const struct create_backing *backing,
                          const struct store_identity *identity,
                          const char *name, struct byre_error *err)
{
    for (size_t i = 0; i < backing->count; i++) {
        if (create_same_file(&backing->files[i], identity))
            return fail(err, BYRE_E_INVALID,
                        "Trying to create an image with the same filename as "
                        "the backing file, or as one below it: '%s'",
                        name);
    }
    return BYRE_OK;
}
