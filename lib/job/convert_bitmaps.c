/* SPDX-License-Identifier: MIT */
#include "job/convert_bitmaps.h"

#include <stdbool.h>

#include "base/error.h"
#include "image/image.h"

static bool is_broken(const struct byre_bitmap *bitmap)
{
    return (bitmap->flags & BYRE_BITMAP_IN_USE) != 0;
}

static int check_list(struct byre *source, uint32_t flags,
                      struct byre_error *err)
{
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    int r;

    if (source->engine->ops->bitmap_ops == NULL)
        return fail(err, BYRE_E_UNSUPPORTED, "Source lacks bitmap support");
    r = byre_bitmap_list(source, &list, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (is_broken(&list[i]) &&
            (flags & BYRE_CONVERT_SKIP_BROKEN_BITMAPS) == 0)
            return fail(err, BYRE_E_STATE,
                        "Cannot copy inconsistent bitmap '%s': leave it out "
                        "(--skip-broken-bitmaps), or remove it",
                        list[i].name);
    return BYRE_OK;
}

int convert_bitmaps_check(struct byre *source, uint32_t flags,
                          const char *bitmap, struct byre_error *err)
{
    uint64_t length;
    uint32_t dirty;
    int r = BYRE_OK;

    if ((flags & BYRE_CONVERT_BITMAPS) != 0)
        r = check_list(source, flags, err);
    if (r == BYRE_OK && bitmap != NULL)
        r = byre_bitmap_extent(source, bitmap, 0, 1, &dirty, &length, err);
    return r;
}

static int copy_one(struct byre *source, struct byre *target,
                    const struct byre_bitmap *bitmap, struct byre_error *err)
{
    int r;

    r = byre_bitmap_add(target, bitmap->name, bitmap->granularity_bytes,
                        BYRE_BITMAP_DISABLED, err);
    if (r == BYRE_OK)
        r = byre_bitmap_merge(target, bitmap->name, source, bitmap->name, err);
    if (r == BYRE_OK && (bitmap->flags & BYRE_BITMAP_AUTO) != 0)
        r = byre_bitmap_enable(target, bitmap->name, err);
    if (r < 0)
        error_prefix(err, "Failed to copy bitmap '%s'", bitmap->name);
    return r;
}

int convert_bitmaps_copy(struct byre *source, struct byre *target,
                         uint32_t flags, struct byre_error *err)
{
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    int r;

    if ((flags & BYRE_CONVERT_BITMAPS) == 0)
        return BYRE_OK;
    r = byre_bitmap_list(source, &list, &count, err);
    for (size_t i = 0; i < count && r == BYRE_OK; i++)
        if (!is_broken(&list[i]))
            r = copy_one(source, target, &list[i], err);
    return r;
}
