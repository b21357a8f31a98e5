/* SPDX-License-Identifier: MIT */
/*
 * What the calls of byre.h do to bitmaps, in memory; and looking at them, for
 * which those of an image that is open for reading are loaded one by one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/head.h"
#include "qcow2/internal.h"

/* ---- Loading on demand ---- */

static int load_list(struct qcow2 *qcow2, struct byre_error *err)
{
    int r;

    if (qcow2->bitmaps_loaded)
        return BYRE_OK;
    r = bitmap_directory_load(qcow2, &qcow2->bitmaps, err);
    qcow2->bitmaps_loaded = r == BYRE_OK;
    return r;
}

int qcow2_bitmaps(struct engine *engine, const struct byre_bitmap **ret,
                  size_t *ret_count, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    pthread_mutex_lock(&qcow2->lists_lock);
    r = load_list(qcow2, err);
    if (r == BYRE_OK)
        r = bitmap_set_publish(&qcow2->bitmaps, ret, ret_count, err);
    pthread_mutex_unlock(&qcow2->lists_lock);
    return r;
}

/* The bitmap with its bits, which nobody frees while the image is read. */
static int find_loaded(struct qcow2 *qcow2, const char *name,
                       struct bitmap **ret_bitmap, struct byre_error *err)
{
    int r;

    pthread_mutex_lock(&qcow2->lists_lock);
    r = load_list(qcow2, err);
    if (r == BYRE_OK)
        r = bitmap_set_find_sound(&qcow2->bitmaps, name, ret_bitmap, err);
    if (r == BYRE_OK)
        r = bitmap_load_bits(qcow2, *ret_bitmap, err);
    pthread_mutex_unlock(&qcow2->lists_lock);
    return r;
}

static int get_extent(struct engine *engine, const char *name, uint64_t offset,
                      uint64_t length, uint32_t *ret_dirty,
                      uint64_t *ret_length, struct byre_error *err)
{
    struct bitmap *bitmap = NULL;
    uint64_t first, last, count;
    int r;

    r = find_loaded(qcow2_of(engine), name, &bitmap, err);
    if (r < 0)
        return r;
    first = offset >> bitmap->granularity_bits;
    last = (offset + length - 1) >> bitmap->granularity_bits;
    *ret_dirty = dirty_bits_run(&bitmap->bits, first, last - first + 1, &count);
    *ret_length =
        min_u64(length, ((first + count) << bitmap->granularity_bits) - offset);
    return BYRE_OK;
}

/* ---- Adding ---- */

int bitmap_check_size(const struct qcow2 *qcow2, const char *name,
                      uint64_t disk_bytes, uint32_t granularity_bits,
                      struct byre_error *err)
{
    const uint64_t bytes =
        qcow2_bitmap_table_entries(disk_bytes, granularity_bits,
                                   qcow2->header.cluster_bits)
        << qcow2->header.cluster_bits;

    if (bytes == 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "an empty disk has no bits for bitmap '%s'", name);
    if (bytes > QCOW2_MAX_BITMAP_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "%" PRIu64 " bytes of bits are more than the limit of "
                    "%" PRIu64 ": use a larger granularity for bitmap '%s'",
                    bytes, QCOW2_MAX_BITMAP_BYTES, name);
    return BYRE_OK;
}

#define DEFAULT_MIN_BITS 12
#define DEFAULT_MAX_BITS 16

static int choose_granularity(const struct qcow2 *qcow2, uint64_t bytes,
                              uint32_t *ret_bits, struct byre_error *err)
{
    uint32_t bits = 0;

    if (bytes == 0) {
        bits = qcow2->header.cluster_bits;
        if (bits < DEFAULT_MIN_BITS)
            bits = DEFAULT_MIN_BITS;
        *ret_bits = bits > DEFAULT_MAX_BITS ? DEFAULT_MAX_BITS : bits;
        return BYRE_OK;
    }
    while (bits < 63 && UINT64_C(1) << bits < bytes)
        bits++;
    if (UINT64_C(1) << bits != bytes ||
        bits < QCOW2_MIN_BITMAP_GRANULARITY_BITS ||
        bits > QCOW2_MAX_BITMAP_GRANULARITY_BITS)
        return fail(err, BYRE_E_INVALID,
                    "Granularity must be power of 2 and at least 512, and at "
                    "most 2147483648, which %" PRIu64 " is not",
                    bytes);
    *ret_bits = bits;
    return BYRE_OK;
}

static int check_name(const struct bitmap_set *set, const char *name,
                      struct byre_error *err)
{
    const size_t bytes = strlen(name);

    if (bytes == 0)
        return fail(err, BYRE_E_INVALID, "Bitmap name cannot be empty");
    if (bytes > QCOW2_MAX_BITMAP_NAME_BYTES)
        return fail(err, BYRE_E_INVALID,
                    "Bitmap name is too long: %zu bytes, more than the limit "
                    "of %d",
                    bytes, QCOW2_MAX_BITMAP_NAME_BYTES);
    if (bitmap_set_find(set, name) != NULL)
        return fail(err, BYRE_E_INVALID, "Bitmap already exists: %s", name);
    return BYRE_OK;
}

/* Whether the directory has room for one more. */
static int check_room(const struct bitmap_set *set, const char *name,
                      struct byre_error *err)
{
    const struct qcow2_bitmap_entry entry = { .name_bytes =
                                                  (uint16_t)strlen(name) };
    const uint64_t bytes =
        bitmap_directory_bytes(set) + qcow2_bitmap_entry_bytes(&entry);

    if (set->count >= QCOW2_MAX_BITMAPS)
        return fail(err, BYRE_E_LIMIT,
                    "the image has %zu bitmaps already, which is the limit",
                    set->count);
    if (bytes > QCOW2_MAX_BITMAP_DIRECTORY_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the bitmap directory would have %" PRIu64
                    " bytes, more than the limit of %" PRIu64,
                    bytes, QCOW2_MAX_BITMAP_DIRECTORY_BYTES);
    return BYRE_OK;
}

static int check_add(const struct qcow2 *qcow2, const char *name,
                     uint32_t granularity_bits, struct byre_error *err)
{
    int r;

    if (qcow2->header.version < 3)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Cannot store dirty bitmaps in qcow2 v2 files");
    r = check_name(&qcow2->bitmaps, name, err);
    if (r == BYRE_OK)
        r = check_room(&qcow2->bitmaps, name, err);
    if (r == BYRE_OK)
        r = bitmap_check_size(qcow2, name, qcow2->engine.size_bytes,
                              granularity_bits, err);
    return r;
}

static int make_bitmap(struct qcow2 *qcow2, const char *name,
                       uint32_t granularity_bits, bool enabled,
                       struct byre_error *err)
{
    struct bitmap *bitmap = calloc(1, sizeof(*bitmap));
    int r;

    if (bitmap == NULL)
        return fail_nomem(err, "a bitmap", sizeof(*bitmap));
    bitmap->name = strdup(name);
    bitmap->granularity_bits = granularity_bits;
    bitmap->enabled = enabled;
    bitmap->has_bits = true;
    r = bitmap->name == NULL
            ? fail_nomem(err, "the name of a bitmap", strlen(name))
            : dirty_bits_init(&bitmap->bits, bitmap_bit_count(qcow2, bitmap),
                              err);
    if (r == BYRE_OK)
        r = bitmap_set_append(&qcow2->bitmaps, bitmap, err);
    if (r < 0)
        bitmap_free(bitmap);
    return r;
}

/* The first one needs an extension of the header. */
static int check_header_room(struct qcow2 *qcow2, struct byre_error *err)
{
    const uint8_t extension[24] = { 0 };
    struct head head;
    int r;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    if (head_find(&head, QCOW2_EXT_BITMAPS) == NULL) {
        r = head_set_extension(&head, QCOW2_EXT_BITMAPS, extension,
                               sizeof(extension), err);
        if (r == BYRE_OK)
            r = head_check_room(qcow2, &head, err);
    }
    head_done(&head);
    return r;
}

static int add(struct engine *engine, const char *name,
               uint64_t granularity_bytes, uint32_t flags,
               struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    uint32_t bits = 0;
    int r;

    r = choose_granularity(qcow2, granularity_bytes, &bits, err);
    if (r == BYRE_OK)
        r = check_add(qcow2, name, bits, err);
    if (r == BYRE_OK)
        r = check_header_room(qcow2, err);
    if (r < 0)
        return r;
    return make_bitmap(qcow2, name, bits, (flags & BYRE_BITMAP_DISABLED) == 0,
                       err);
}

/* ---- Changing ---- */

static int remove_bitmap(struct engine *engine, const char *name,
                         struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    struct bitmap *bitmap = bitmap_set_find(&qcow2->bitmaps, name);

    if (bitmap == NULL)
        return fail_no_bitmap(name, err);
    return bitmap_set_remove(&qcow2->bitmaps, bitmap, err);
}

static int clear(struct engine *engine, const char *name,
                 struct byre_error *err)
{
    struct bitmap *bitmap = NULL;
    int r;

    r = bitmap_set_find_sound(&qcow2_of(engine)->bitmaps, name, &bitmap, err);
    if (r == BYRE_OK)
        dirty_bits_clear_all(&bitmap->bits);
    return r;
}

static int set_enabled(struct engine *engine, const char *name, bool enabled,
                       struct byre_error *err)
{
    struct bitmap_set *set = &qcow2_of(engine)->bitmaps;
    struct bitmap *bitmap = NULL;
    int r;

    r = bitmap_set_find_sound(set, name, &bitmap, err);
    if (r < 0 || bitmap->enabled == enabled)
        return r;
    bitmap->enabled = enabled;
    bitmap_set_changed(set);
    return BYRE_OK;
}

static int set_bits(struct engine *engine, const char *name, uint64_t offset,
                    uint64_t length, struct byre_error *err)
{
    struct bitmap *bitmap = NULL;
    int r;

    r = bitmap_set_find_sound(&qcow2_of(engine)->bitmaps, name, &bitmap, err);
    if (r < 0)
        return r;
    return bitmap_set_range(bitmap, offset, length, err);
}

static int store_all(struct engine *engine, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    /* First what they tell of. */
    r = writer_flush(&qcow2->writer, err);
    if (r < 0)
        return r;
    return qcow2_bitmaps_write(qcow2, true, err);
}

const struct bitmap_ops qcow2_bitmap_ops = {
    .add = add,
    .remove = remove_bitmap,
    .clear = clear,
    .set_enabled = set_enabled,
    .set = set_bits,
    .store = store_all,
    .extent = get_extent,
};
