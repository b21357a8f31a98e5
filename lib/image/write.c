/* SPDX-License-Identifier: MIT */
/*
 * The calls that change a disk, and what an image lends its engine for them.
 */
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "image/image.h"

/* ---- What the image stands on ---- */

/* The image may be open without it: then what needs it is refused, and what
   replaces whole clusters goes on. */
static int need_backing(struct byre *img, struct byre_error *err)
{
    if (img->backing != NULL)
        return BYRE_OK;
    return fail(err, BYRE_E_STATE,
                "the image was opened without its backing file '%s', which is "
                "needed to fill up what is written in part",
                img->engine->backing_name != NULL ? img->engine->backing_name
                                                  : "");
}

static int backing_read(void *user, uint64_t offset, void *buf, size_t length,
                        struct byre_error *err)
{
    struct byre *img = user;
    const int r = need_backing(img, err);

    return r < 0 ? r
                 : image_read_past_end(img->backing, offset, buf, length, err);
}

static bool maps_to_zero(enum l2_kind kind)
{
    return kind != L2_DATA && kind != L2_COMPRESSED && kind != L2_INVALID;
}

static int map_zero(struct chain_pass *pass, uint64_t offset, uint64_t length,
                    bool *ret_zero, uint64_t *ret_length,
                    struct byre_error *err)
{
    const uint64_t end = pass->top->engine->size_bytes;
    struct chain_mapping chain;
    int r;

    if (offset >= end) {
        *ret_zero = true;
        *ret_length = length;
        return BYRE_OK;
    }

    r = chain_map(pass, offset, min_u64(length, end - offset), false, &chain,
                  err);
    if (r < 0)
        return r;
    *ret_zero = maps_to_zero(chain.mapping.kind);
    *ret_length = chain.mapping.length;
    return BYRE_OK;
}

/* Asks the tables only: data is not looked at. */
static int backing_is_zero(void *user, uint64_t offset, uint64_t length,
                           bool *ret_zero, uint64_t *ret_length,
                           struct byre_error *err)
{
    struct byre *img = user;
    struct chain_pass pass;
    int r;

    r = need_backing(img, err);
    if (r < 0)
        return r;
    chain_enter(&pass, img->backing);
    r = map_zero(&pass, offset, length, ret_zero, ret_length, err);
    chain_leave(&pass);
    return r;
}

struct engine_backing image_engine_backing(struct byre *img)
{
    const struct engine_backing none = { 0 };

    if (img->backing == NULL && img->engine->backing_name == NULL)
        return none;
    return (struct engine_backing){
        .user = img,
        .read = backing_read,
        .is_zero = backing_is_zero,
    };
}

static int zeroes_read(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)err;
    memset(buf, 0, length);
    return BYRE_OK;
}

static int zeroes_are_zero(void *user, uint64_t offset, uint64_t length,
                           bool *ret_zero, uint64_t *ret_length,
                           struct byre_error *err)
{
    (void)user;
    (void)offset;
    (void)err;
    *ret_zero = true;
    *ret_length = length;
    return BYRE_OK;
}

void image_stand_on_zeroes(struct byre *img, bool zeroes)
{
    const struct engine_backing backing =
        zeroes ? (struct engine_backing){ NULL, zeroes_read, zeroes_are_zero }
               : image_engine_backing(img);

    gate_close(&img->engine->gate);
    img->engine->ops->set_backing(img->engine, &backing);
    gate_open(&img->engine->gate);
}

int image_prepare_write(struct byre *img, uint32_t flags,
                        struct byre_error *err)
{
    const struct write_options options = {
        .backing = image_engine_backing(img),
        .refcount_cache_bytes = img->refcount_cache_bytes,
        .keep_space = (flags & BYRE_OPEN_KEEP_SPACE) != 0,
        .keep_clusters = (flags & BYRE_OPEN_KEEP_CLUSTERS) != 0,
        .may_give_up_bitmaps = (flags & BYRE_OPEN_GIVE_UP_BITMAPS) != 0,
    };
    int r;

    r = img->engine->ops->prepare_write(img->engine, &options, err);
    if (r < 0)
        error_prefix(err, "%s", img->name);
    return r;
}

/* ---- Alone ---- */

int image_change_begin(struct byre *img, struct byre_error *err)
{
    gate_close(&img->engine->gate);
    if (img->engine->writable)
        return BYRE_OK;
    gate_open(&img->engine->gate);
    return fail(err, BYRE_E_STATE, "%s: the image is open for reading only",
                img->name);
}

int image_change_end(struct byre *img, int r, struct byre_error *err)
{
    gate_open(&img->engine->gate);
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
        return fail(err, BYRE_E_STATE, "the image is open for reading only");
    if (flags & ~known_flags)
        return fail(err, BYRE_E_INVALID, "unknown flags 0x%x for writing",
                    flags & ~known_flags);
    return BYRE_OK;
}

/*
 * Makes durable what was done.  Outside the gate, so that a flush does not hold
 * up what waits for earlier calls to end.
 */
static int flush(struct byre *img, struct byre_error *err)
{
    int r;

    pthread_rwlock_rdlock(&img->writing);
    r = check_writable(img, 0, 0, err);
    if (r == BYRE_OK)
        r = img->engine->ops->flush(img->engine, err);
    pthread_rwlock_unlock(&img->writing);
    return r;
}

/* Behind a call: its failure is named, its success made durable if asked. */
static int finish_write(struct byre *img, int r, uint32_t flags,
                        struct byre_error *err)
{
    if (r == BYRE_OK && (flags & BYRE_WRITE_FUA) != 0)
        r = flush(img, err);
    if (r < 0 && img != NULL)
        error_prefix(err, "%s", img->name);
    return r;
}

/* Inside the gate: whether a call may change the range. */
static int check_change(const struct byre *img, uint64_t offset,
                        uint64_t length, uint32_t flags, uint32_t known_flags,
                        struct byre_error *err)
{
    const int r = check_writable(img, flags, known_flags | BYRE_WRITE_FUA, err);

    return r < 0 ? r : check_disk_range(img, offset, length, err);
}

int image_write(struct byre *img, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err)
{
    const struct gate_pass pass = image_enter(img);
    int r;

    r = check_change(img, offset, length, flags, BYRE_WRITE_COMPRESSED, err);
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
    const struct gate_pass pass = image_enter(img);
    int r;

    r = check_change(img, offset, length, flags,
                     BYRE_WRITE_MAY_UNMAP | BYRE_WRITE_FAST_ZERO, err);
    if (r == BYRE_OK && length > 0)
        r = img->engine->ops->zero(img->engine, offset, length,
                                   flags & ~BYRE_WRITE_FUA, err);
    image_leave(img, pass);
    return finish_write(img, r, flags, err);
}

int byre_discard(struct byre *img, uint64_t offset, uint64_t length,
                 uint32_t flags, struct byre_error *err)
{
    const struct gate_pass pass = image_enter(img);
    int r;

    r = check_change(img, offset, length, flags, 0, err);
    if (r == BYRE_OK && length > 0)
        r = img->engine->ops->discard(img->engine, offset, length, err);
    image_leave(img, pass);
    return finish_write(img, r, flags, err);
}

int byre_flush(struct byre *img, struct byre_error *err)
{
    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
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
    if (r == BYRE_OK && img->engine->ops->resize == NULL)
        r = fail(err, BYRE_E_UNSUPPORTED,
                 "the size of a %s image cannot be changed; convert its disk "
                 "to qcow2",
                 img->engine->format);
    if (r < 0) {
        if (img != NULL)
            error_prefix(err, "%s", img->name);
        return r;
    }

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = check_size(img, size_bytes, flags, preallocation, err);
    if (r == BYRE_OK)
        r = img->engine->ops->resize(img->engine, size_bytes, preallocation,
                                     err);
    return image_change_end(img, r, err);
}
