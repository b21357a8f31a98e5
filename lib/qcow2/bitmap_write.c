/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps of a disk that is open for writing: loaded and marked in use in the
 * file before anything changes, kept true by every write, written back at the
 * end.
 */
#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

/* ---- Opening ---- */

static bool has_sound(const struct bitmap_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (!set->items[i]->inconsistent)
            return true;
    return false;
}

static int load_all(struct qcow2 *qcow2, struct byre_error *err)
{
    struct bitmap_set *set = &qcow2->bitmaps;
    int r;

    bitmap_set_done(set);
    qcow2->bitmaps_loaded = false;
    r = bitmap_directory_load(qcow2, set, err);
    for (size_t i = 0; i < set->count && r == BYRE_OK; i++)
        if (!set->items[i]->inconsistent)
            r = bitmap_load_bits(qcow2, set->items[i], err);
    return r;
}

int bitmap_set_list_clusters(const struct bitmap_set *set, struct qcow2 *qcow2,
                             struct offset_list *list, struct byre_error *err)
{
    const struct qcow2_bitmaps_extension *extension = &qcow2->bitmaps_extension;
    int r;

    if (!qcow2->has_bitmaps)
        return BYRE_OK;
    r = bitmap_clusters_add(list, qcow2, extension->directory_offset,
                            extension->directory_bytes, err);
    for (size_t i = 0; i < set->count && r == BYRE_OK; i++)
        r = bitmap_clusters_add_table(list, qcow2, &set->items[i]->place, err);
    return r;
}

int qcow2_bitmaps_give_up(struct qcow2 *qcow2, bool allowed, int r,
                          struct byre_error *err)
{
    if (r != BYRE_E_CORRUPT && r != BYRE_E_UNSUPPORTED && r != BYRE_E_LIMIT)
        return r;
    if (!allowed) {
        error_prefix(err, "the bitmaps cannot be kept, so the image can only "
                          "be read (bitmap --remove-all gives them up)");
        return r;
    }
    bitmap_set_done(&qcow2->bitmaps);
    qcow2->has_bitmaps = false;
    qcow2->bitmaps_are_stale = true;
    return BYRE_OK;
}

int qcow2_bitmaps_open(struct qcow2 *qcow2, bool may_give_up,
                       struct byre_error *err)
{
    int r;

    pthread_mutex_lock(&qcow2->lists_lock);
    r = qcow2_bitmaps_give_up(qcow2, may_give_up, load_all(qcow2, err), err);
    qcow2->bitmaps_loaded = r == BYRE_OK;
    if (r < 0)
        bitmap_set_done(&qcow2->bitmaps);
    pthread_mutex_unlock(&qcow2->lists_lock);
    return r;
}

int qcow2_bitmaps_mark(struct qcow2 *qcow2, struct byre_error *err)
{
    int r;

    r = qcow2_bitmaps_drop_stale(qcow2, err);
    if (r == BYRE_OK && has_sound(&qcow2->bitmaps))
        r = qcow2_bitmaps_write(qcow2, true, err);
    if (r == BYRE_OK)
        bitmap_set_changed(&qcow2->bitmaps); /* from now on writes are noted */
    qcow2->bitmaps.changed = false;
    return r;
}

void qcow2_bitmaps_forget(struct qcow2 *qcow2)
{
    bitmap_set_done(&qcow2->bitmaps);
    qcow2->bitmaps_loaded = false;
}

/* ---- Writing ---- */

int bitmap_set_range(struct bitmap *bitmap, uint64_t offset, uint64_t length,
                     struct byre_error *err)
{
    const uint64_t first = offset >> bitmap->granularity_bits;
    const uint64_t last = (offset + length - 1) >> bitmap->granularity_bits;

    if (length == 0)
        return BYRE_OK;
    return dirty_bits_set(&bitmap->bits, first, last - first + 1, err);
}

int qcow2_bitmaps_note_range(struct qcow2 *qcow2, uint64_t offset,
                             uint64_t length, struct byre_error *err)
{
    struct bitmap_set *set = &qcow2->bitmaps;
    int r = BYRE_OK;

    for (size_t i = 0; i < set->count && r == BYRE_OK; i++)
        if (bitmap_is_noting(set->items[i]))
            r = bitmap_set_range(set->items[i], offset, length, err);
    return r;
}

void qcow2_bitmaps_mark_all(struct qcow2 *qcow2)
{
    struct bitmap_set *set = &qcow2->bitmaps;

    for (size_t i = 0; i < set->count; i++)
        if (bitmap_is_noting(set->items[i]))
            dirty_bits_set_all(&set->items[i]->bits);
}

/* ---- Another size ---- */

int qcow2_bitmaps_check_size(const struct qcow2 *qcow2, uint64_t size_bytes,
                             struct byre_error *err)
{
    const struct bitmap_set *set = &qcow2->bitmaps;
    int r = BYRE_OK;

    for (size_t i = 0; i < set->count && r == BYRE_OK; i++) {
        const struct bitmap *bitmap = set->items[i];

        if (bitmap->inconsistent)
            return fail_inconsistent(bitmap, err);
        r = bitmap_check_size(qcow2, bitmap->name, size_bytes,
                              bitmap->granularity_bits, err);
    }
    return r;
}

/* What cannot be kept is lost, as after a crash: it stays in use. */
static void lose(struct bitmap_set *set, struct bitmap *bitmap)
{
    bitmap->inconsistent = true;
    if (bitmap->place.entries == 0) /* it was never in the file */
        bitmap_set_remove(set, bitmap, NULL);
    bitmap_set_changed(set);
}

int qcow2_bitmaps_resize(struct qcow2 *qcow2, struct byre_error *err)
{
    struct bitmap_set *set = &qcow2->bitmaps;
    int first_r = BYRE_OK;

    for (size_t i = set->count; i-- > 0;) {
        struct bitmap *bitmap = set->items[i];
        struct byre_error why;
        int r;

        if (bitmap->inconsistent)
            continue;
        r = dirty_bits_resize(&bitmap->bits, bitmap_bit_count(qcow2, bitmap),
                              &why);
        if (r == BYRE_OK)
            continue;
        lose(set, bitmap);
        if (first_r == BYRE_OK && err != NULL)
            *err = why;
        first_r = first_r < 0 ? first_r : r;
    }
    return first_r;
}
