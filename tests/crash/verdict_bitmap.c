/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps of a state: one that is not in use may be believed by a backup, so it
 * must have noted every sector that is not as it was when the bitmap began.
 * Those that are called "all" began with the disk as the workload found it.
 */
#include <string.h>

#include "base/error.h"
#include "verdict.h"

struct look {
    const struct runner *runner;
    struct byre *disk;
    uint64_t bytes; /* of the disk */
};

/* Whether a range reads as the workload found it; grown parts were zero. */
static int is_unchanged(const struct look *look, uint64_t offset, bool *ret,
                        struct byre_error *err)
{
    static const uint8_t zeroes[MODEL_SECTOR];
    const uint64_t began = image_kind_disk(look->runner->plan->kind);
    const uint8_t *before =
        offset < began ? look->runner->beginning->disk + offset : zeroes;
    uint8_t now[MODEL_SECTOR];
    int r;

    r = byre_read(look->disk, offset, now, sizeof(now), err);
    *ret = r == BYRE_OK && memcmp(before, now, sizeof(now)) == 0;
    return r;
}

static int check_clean(const struct look *look, const char *name,
                       uint64_t offset, uint64_t length, struct byre_error *err)
{
    for (uint64_t at = offset; at < offset + length; at += MODEL_SECTOR) {
        bool unchanged;
        int r;

        r = is_unchanged(look, at, &unchanged, err);
        if (r < 0)
            return r;
        if (!unchanged)
            return fail(err, BYRE_E_CORRUPT,
                        "bitmap '%s' has not noted sector %llu", name,
                        (unsigned long long)(at / MODEL_SECTOR));
    }
    return BYRE_OK;
}

static int check_all(const struct look *look, const char *name,
                     struct byre_error *err)
{
    uint64_t at = 0;

    while (at < look->bytes) {
        uint64_t length = 0;
        uint32_t dirty = 0;
        int r;

        r = byre_bitmap_extent(look->disk, name, at, look->bytes - at, &dirty,
                               &length, err);
        if (r == BYRE_OK && dirty == 0)
            r = check_clean(look, name, at, length, err);
        if (r < 0)
            return r;
        at += length;
    }
    return BYRE_OK;
}

static int check_one(const struct look *look, const struct byre_bitmap *bitmap,
                     unsigned flags, struct byre_error *err)
{
    uint64_t dirty_bytes;

    if ((bitmap->flags & BYRE_BITMAP_IN_USE) != 0 &&
        (flags & VERDICT_NO_LEAKS) != 0)
        return fail(err, BYRE_E_CORRUPT,
                    "closed, and bitmap '%s' is left in use", bitmap->name);
    if ((bitmap->flags & BYRE_BITMAP_IN_USE) != 0)
        return BYRE_OK;
    if (strncmp(bitmap->name, "all", 3) == 0)
        return check_all(look, bitmap->name, err);
    return byre_bitmap_dirty_bytes(look->disk, bitmap->name, &dirty_bytes, err);
}

int verdict_bitmaps(const struct runner *runner,
                    struct byre_store *const *stores, unsigned flags,
                    struct byre_error *err)
{
    const struct image_options options = { .flags = 0 };
    struct byre_info info = BYRE_INFO_INIT;
    struct image image = { .disk = NULL };
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    int r = image_open(runner->plan->kind, stores, &options, &image, err);

    if (r == BYRE_OK)
        r = byre_get_info(image.disk, &info, err);
    if (r == BYRE_OK)
        r = byre_bitmap_list(image.disk, &list, &count, err);
    for (size_t i = 0; i < count && r == BYRE_OK; i++) {
        const struct look look = { runner, image.disk,
                                   info.virtual_size_bytes };

        r = check_one(&look, &list[i], flags, err);
    }
    image_close(&image, NULL);
    return r;
}
