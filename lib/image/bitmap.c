/* SPDX-License-Identifier: MIT */
/*
 * The calls on bitmaps.  Those that change them close the gate; those that look
 * pass it, as data calls do.
 */
#include "base/arith.h"
#include "base/error.h"
#include "image/image.h"

static int require(const void *img, const void *other, struct byre_error *err)
{
    if (img == NULL || other == NULL)
        return fail(err, BYRE_E_INVALID,
                    "an image, and a name or room for the result, are "
                    "required");
    return BYRE_OK;
}

static int no_bitmaps(const struct byre *img, struct byre_error *err)
{
    return fail(err, BYRE_E_UNSUPPORTED, "a %s image cannot have bitmaps",
                img->engine->format);
}

/* Checks the arguments of a call that changes, and closes the gate. */
static int begin(struct byre *img, const char *name, struct byre_error *err)
{
    int r;

    r = require(img, name, err);
    if (r < 0)
        return r;
    if (img->engine->ops->bitmap_ops == NULL)
        return no_bitmaps(img, err);
    return image_change_begin(img, err);
}

static int end(struct byre *img, int r)
{
    gate_open(&img->engine->gate);
    return r;
}

int byre_bitmap_list(struct byre *img, const struct byre_bitmap **ret_list,
                     size_t *ret_count, struct byre_error *err)
{
    struct gate_pass pass;
    int r;

    r = require(img, ret_list, err);
    if (r == BYRE_OK)
        r = require(img, ret_count, err);
    if (r < 0)
        return r;
    if (img->engine->ops->bitmaps == NULL) {
        *ret_list = NULL;
        *ret_count = 0;
        return BYRE_OK;
    }
    pass = image_enter(img);
    r = img->engine->ops->bitmaps(img->engine, ret_list, ret_count, err);
    image_leave(img, pass);
    return r;
}

/* ---- Changing ---- */

int byre_bitmap_add(struct byre *img, const char *name,
                    uint64_t granularity_bytes, uint32_t flags,
                    struct byre_error *err)
{
    int r;

    if (flags & ~BYRE_BITMAP_DISABLED)
        return fail(err, BYRE_E_INVALID, "unknown flags 0x%x for a bitmap",
                    flags & ~BYRE_BITMAP_DISABLED);
    r = begin(img, name, err);
    if (r < 0)
        return r;
    return end(img, img->engine->ops->bitmap_ops->add(
                        img->engine, name, granularity_bytes, flags, err));
}

int byre_bitmap_remove(struct byre *img, const char *name,
                       struct byre_error *err)
{
    const int r = begin(img, name, err);

    if (r < 0)
        return r;
    return end(img,
               img->engine->ops->bitmap_ops->remove(img->engine, name, err));
}

int byre_bitmap_clear(struct byre *img, const char *name,
                      struct byre_error *err)
{
    const int r = begin(img, name, err);

    if (r < 0)
        return r;
    return end(img,
               img->engine->ops->bitmap_ops->clear(img->engine, name, err));
}

static int set_enabled(struct byre *img, const char *name, bool enabled,
                       struct byre_error *err)
{
    const int r = begin(img, name, err);

    if (r < 0)
        return r;
    return end(img, img->engine->ops->bitmap_ops->set_enabled(img->engine, name,
                                                              enabled, err));
}

int byre_bitmap_enable(struct byre *img, const char *name,
                       struct byre_error *err)
{
    return set_enabled(img, name, true, err);
}

int byre_bitmap_disable(struct byre *img, const char *name,
                        struct byre_error *err)
{
    return set_enabled(img, name, false, err);
}

int byre_bitmap_store(struct byre *img, struct byre_error *err)
{
    int r;

    r = begin(img, "", err);
    if (r < 0)
        return r;
    r = end(img, img->engine->ops->bitmap_ops->store(img->engine, err));
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}

/* ---- Looking ---- */

static int check_look(struct byre *img, const char *name,
                      struct byre_error *err)
{
    int r;

    r = require(img, name, err);
    if (r < 0)
        return r;
    return img->engine->ops->bitmap_ops == NULL ? no_bitmaps(img, err)
                                                : BYRE_OK;
}

/* One answer; *ret_size is the disk's, which the gate keeps as it is. */
static int look(struct byre *img, const char *name, uint64_t offset,
                uint64_t length, uint32_t *ret_dirty, uint64_t *ret_length,
                uint64_t *ret_size, struct byre_error *err)
{
    struct gate_pass pass = image_enter(img);
    const uint64_t size = img->engine->size_bytes;
    int r = BYRE_OK;

    *ret_size = size;
    if (offset > size || (offset == size && length > 0))
        r = fail(err, BYRE_E_INVALID,
                 "offset %llu is past the end of the disk, %llu",
                 (unsigned long long)offset, (unsigned long long)size);
    else if (length > 0 || size > 0)
        r = img->engine->ops->bitmap_ops->extent(img->engine, name, offset,
                                                 min_u64(length, size - offset),
                                                 ret_dirty, ret_length, err);
    image_leave(img, pass);
    return r;
}

int byre_bitmap_extent(struct byre *img, const char *name, uint64_t offset,
                       uint64_t length, uint32_t *ret_dirty,
                       uint64_t *ret_length, struct byre_error *err)
{
    uint64_t size;
    int r;

    r = check_look(img, name, err);
    if (r == BYRE_OK && (ret_dirty == NULL || ret_length == NULL))
        r = require(img, NULL, err);
    if (r == BYRE_OK && length == 0)
        r = fail(err, BYRE_E_INVALID, "an empty range has no extent");
    if (r < 0)
        return r;
    return look(img, name, offset, length, ret_dirty, ret_length, &size, err);
}

int byre_bitmap_dirty_bytes(struct byre *img, const char *name,
                            uint64_t *ret_bytes, struct byre_error *err)
{
    uint64_t total = 0, offset = 0, size = 0;
    int r;

    r = check_look(img, name, err);
    if (r == BYRE_OK)
        r = require(img, ret_bytes, err);
    if (r < 0)
        return r;
    do {
        uint64_t length = 0;
        uint32_t dirty = 0;

        r = look(img, name, offset, UINT64_MAX, &dirty, &length, &size, err);
        if (r < 0)
            return r;
        total += dirty != 0 ? length : 0;
        offset += length;
    } while (offset < size);
    *ret_bytes = total;
    return BYRE_OK;
}

/* ---- Merging ---- */

#define MOST_RUNS 64

/* Dirty ranges of the source, and how far they have been looked for. */
struct runs {
    uint64_t offsets[MOST_RUNS];
    uint64_t lengths[MOST_RUNS];
    size_t count;
    uint64_t at;
    uint64_t size;
};

static int collect(struct byre *source, const char *name, struct runs *runs,
                   struct byre_error *err)
{
    runs->count = 0;
    do {
        uint64_t length = 0;
        uint32_t dirty = 0;
        int r;

        r = look(source, name, runs->at, UINT64_MAX, &dirty, &length,
                 &runs->size, err);
        if (r < 0)
            return r;
        if (dirty != 0) {
            runs->offsets[runs->count] = runs->at;
            runs->lengths[runs->count++] = length;
        }
        runs->at += length;
    } while (runs->count < MOST_RUNS && runs->at < runs->size);
    return BYRE_OK;
}

/* Inside the gate: bits may be set by many, and the size stays. */
static int set_runs(struct byre *img, const char *name, const struct runs *runs,
                    struct byre_error *err)
{
    struct gate_pass pass = image_enter(img);
    struct engine *engine = img->engine;
    int r = BYRE_OK;

    if (!engine->writable)
        r = fail(err, BYRE_E_STATE, "%s: the image is open for reading only",
                 img->name);
    else if (engine->size_bytes != runs->size)
        r = fail(err, BYRE_E_INVALID,
                 "Bitmaps are of different sizes (destination size is %llu and "
                 "source size is %llu) and can't be merged",
                 (unsigned long long)engine->size_bytes,
                 (unsigned long long)runs->size);
    if (r == BYRE_OK && runs->count == 0) /* there must be such a bitmap */
        r = engine->ops->bitmap_ops->set(engine, name, 0, 0, err);
    for (size_t i = 0; i < runs->count && r == BYRE_OK; i++)
        r = engine->ops->bitmap_ops->set(engine, name, runs->offsets[i],
                                         runs->lengths[i], err);
    image_leave(img, pass);
    return r;
}

/* Never inside two gates at once: two merges may cross. */
int byre_bitmap_merge(struct byre *img, const char *name, struct byre *source,
                      const char *source_name, struct byre_error *err)
{
    struct runs runs = { .count = 0 };
    int r;

    r = check_look(source, source_name, err);
    if (r == BYRE_OK)
        r = begin(img, name, err);
    if (r < 0)
        return r;
    end(img, BYRE_OK);
    do {
        r = collect(source, source_name, &runs, err);
        if (r == BYRE_OK)
            r = set_runs(img, name, &runs, err);
    } while (r == BYRE_OK && runs.at < runs.size);
    return r;
}
