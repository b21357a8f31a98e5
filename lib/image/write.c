/* SPDX-License-Identifier: MIT */
/*
 * The calls that change a disk, and what an image lends its engine for them.
 */
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "image/image.h"

/* ---- What the image stands on ---- */

static int backing_read(void *user, uint64_t offset, void *buf, size_t length,
                        struct byre_error *err)
{
    struct byre *backing = user;
    const uint64_t end = backing->engine->size_bytes;
    const size_t n = offset < end ? (size_t)min_u64(length, end - offset) : 0;

    memset((uint8_t *)buf + n, 0, length - n);
    return byre_read(backing, offset - (n == 0 ? offset : 0), buf, n, err);
}

static bool maps_to_zero(enum l2_kind kind)
{
    return kind != L2_DATA && kind != L2_COMPRESSED && kind != L2_INVALID;
}

/* Asks the tables only: data is not looked at. */
static int backing_is_zero(void *user, uint64_t offset, uint64_t length,
                           bool *ret_zero, uint64_t *ret_length,
                           struct byre_error *err)
{
    struct byre *backing = user;
    const uint64_t end = backing->engine->size_bytes;
    struct chain_mapping chain;
    int r;

    if (offset >= end) {
        *ret_zero = true;
        *ret_length = length;
        return BYRE_OK;
    }

    r = chain_map(backing, offset, min_u64(length, end - offset), false, &chain,
                  err);
    if (r < 0)
        return r;
    *ret_zero = maps_to_zero(chain.mapping.kind);
    *ret_length = chain.mapping.length;
    return BYRE_OK;
}

int image_prepare_write(struct byre *img, uint64_t cache_bytes, uint32_t flags,
                        struct byre_error *err)
{
    struct write_options options = {
        .refcount_cache_bytes = cache_bytes,
        .keep_space = (flags & BYRE_OPEN_KEEP_SPACE) != 0,
        .keep_clusters = (flags & BYRE_OPEN_KEEP_CLUSTERS) != 0,
    };
    int r;

    if (img->backing != NULL)
        options.backing = (struct engine_backing){
            .user = img->backing,
            .read = backing_read,
            .is_zero = backing_is_zero,
        };
    else if (img->engine->backing_name != NULL)
        return fail(err, BYRE_E_STATE,
                    "%s: without its backing file the image can only be read",
                    img->name);
    r = img->engine->ops->prepare_write(img->engine, &options, err);
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}

/* ---- Data ---- */

static int check_writable(const struct byre *img, uint32_t flags,
                          uint32_t known_flags, struct byre_error *err)
{
    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
    if (!img->engine->writable)
        return fail(err, BYRE_E_STATE, "%s: the image is open for reading only",
                    img->name);
    if (flags & ~known_flags)
        return fail(err, BYRE_E_INVALID, "unknown flags 0x%x for writing",
                    flags & ~known_flags);
    return BYRE_OK;
}

/* Behind a call: its failure is named, its success made durable if asked. */
static int finish_write(struct byre *img, int r, uint32_t flags,
                        struct byre_error *err)
{
    if (r == BYRE_OK && (flags & BYRE_WRITE_FUA) != 0)
        r = img->engine->ops->flush(img->engine, err);
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}

int image_write(struct byre *img, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err)
{
    struct gate_pass pass;
    int r;

    r = check_writable(img, flags, BYRE_WRITE_FUA | BYRE_WRITE_COMPRESSED, err);
    if (r < 0)
        return r;

    pass = image_enter(img);
    r = check_disk_range(img, offset, length, err);
    if (r == BYRE_OK && buf == NULL && length > 0)
        r = fail(err, BYRE_E_INVALID, "a buffer is required");
    if (r == BYRE_OK && length > 0)
        r = img->engine->ops->write(img->engine, offset, buf, length,
                                    flags & ~BYRE_WRITE_FUA, order, err);
    image_leave(img, pass);
    return finish_write(img, r, flags, err);
}

int byre_write(struct byre *img, uint64_t offset, const void *buf,
               size_t length, uint32_t flags, struct byre_error *err)
{
    return image_write(img, offset, buf, length, flags, NULL, err);
}

int byre_zero(struct byre *img, uint64_t offset, uint64_t length,
              uint32_t flags, struct byre_error *err)
{
    struct gate_pass pass;
    int r;

    r = check_writable(
        img, flags,
        BYRE_WRITE_FUA | BYRE_WRITE_MAY_UNMAP | BYRE_WRITE_FAST_ZERO, err);
    if (r < 0)
        return r;

    pass = image_enter(img);
    r = check_disk_range(img, offset, length, err);
    if (r == BYRE_OK && length > 0)
        r = img->engine->ops->zero(img->engine, offset, length,
                                   flags & ~BYRE_WRITE_FUA, err);
    image_leave(img, pass);
    return finish_write(img, r, flags, err);
}

int byre_discard(struct byre *img, uint64_t offset, uint64_t length,
                 uint32_t flags, struct byre_error *err)
{
    struct gate_pass pass;
    int r;

    r = check_writable(img, flags, BYRE_WRITE_FUA, err);
    if (r < 0)
        return r;

    pass = image_enter(img);
    r = check_disk_range(img, offset, length, err);
    if (r == BYRE_OK && length > 0)
        r = img->engine->ops->discard(img->engine, offset, length, err);
    image_leave(img, pass);
    return finish_write(img, r, flags, err);
}

int byre_flush(struct byre *img, struct byre_error *err)
{
    int r;

    r = check_writable(img, 0, 0, err);
    if (r < 0)
        return r;
    return finish_write(img, BYRE_OK, BYRE_WRITE_FUA, err);
}

/* ---- The size ---- */

static int check_size(const struct byre *img, uint64_t size_bytes,
                      uint32_t flags, uint32_t preallocation,
                      struct byre_error *err)
{
    const uint64_t now = img->engine->size_bytes;

    if (!is_aligned(size_bytes, ENGINE_SECTOR_BYTES))
        return fail(err, BYRE_E_INVALID,
                    "The new size must be a multiple of 512, which %llu is not",
                    (unsigned long long)size_bytes);
    if (size_bytes > STORE_MAX_OFFSET)
        return fail(err, BYRE_E_LIMIT,
                    "the new size %llu is past the limit of %llu",
                    (unsigned long long)size_bytes,
                    (unsigned long long)STORE_MAX_OFFSET);
    if (size_bytes < now && (flags & BYRE_RESIZE_SHRINK) == 0)
        return fail(err, BYRE_E_POLICY,
                    "the disk would become smaller, %llu bytes instead of "
                    "%llu, and lose what is behind; shrinking is to be allowed",
                    (unsigned long long)size_bytes, (unsigned long long)now);
    if (size_bytes < now && preallocation != BYRE_PREALLOCATION_OFF)
        return fail(err, BYRE_E_INVALID,
                    "Preallocation can't be used for shrinking an image");
    return BYRE_OK;
}

int byre_resize(struct byre *img, uint64_t size_bytes, uint32_t flags,
                uint32_t preallocation, struct byre_error *err)
{
    int r;

    r = check_writable(img, flags, BYRE_RESIZE_SHRINK, err);
    if (r == BYRE_OK && preallocation > BYRE_PREALLOCATION_FULL)
        r = fail(err, BYRE_E_INVALID, "unknown preallocation %u",
                 preallocation);
    if (r < 0)
        return r;
    if (img->engine->ops->resize == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s: the size of a %s image cannot be changed", img->name,
                    img->engine->format);

    gate_close(&img->engine->gate);
    r = check_size(img, size_bytes, flags, preallocation, err);
    if (r == BYRE_OK)
        r = img->engine->ops->resize(img->engine, size_bytes, preallocation,
                                     err);
    gate_open(&img->engine->gate);
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}
