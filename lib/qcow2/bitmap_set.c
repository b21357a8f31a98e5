/* SPDX-License-Identifier: MIT */
#include "qcow2/bitmap_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void bitmap_free(struct bitmap *bitmap)
{
    if (bitmap == NULL)
        return;
    dirty_bits_done(&bitmap->bits);
    free(bitmap->name);
    free(bitmap);
}

void bitmap_set_done(struct bitmap_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        bitmap_free(set->items[i]);
    free(set->items);
    free(set->published);
    free(set->dropped);
    *set = (struct bitmap_set){ 0 };
}

struct bitmap *bitmap_set_find(const struct bitmap_set *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i]->name, name) == 0)
            return set->items[i];
    return NULL;
}

int fail_no_bitmap(const char *name, struct byre_error *err)
{
    return fail(err, BYRE_E_NOT_FOUND, "Dirty bitmap '%s' not found", name);
}

int fail_inconsistent(const struct bitmap *bitmap, struct byre_error *err)
{
    return fail(err, BYRE_E_STATE,
                "Bitmap '%s' is inconsistent and cannot be used: remove it",
                bitmap->name);
}

int bitmap_set_find_sound(const struct bitmap_set *set, const char *name,
                          struct bitmap **ret_bitmap, struct byre_error *err)
{
    struct bitmap *bitmap = bitmap_set_find(set, name);

    if (bitmap == NULL)
        return fail_no_bitmap(name, err);
    if (bitmap->inconsistent)
        return fail_inconsistent(bitmap, err);
    *ret_bitmap = bitmap;
    return BYRE_OK;
}

bool bitmap_is_noting(const struct bitmap *bitmap)
{
    return bitmap->enabled && !bitmap->inconsistent;
}

static void forget_published(struct bitmap_set *set)
{
    set->changed = true;
    free(set->published);
    set->published = NULL;
}

void bitmap_set_changed(struct bitmap_set *set)
{
    forget_published(set);
    set->noting = 0;
    for (size_t i = 0; i < set->count; i++)
        set->noting += bitmap_is_noting(set->items[i]);
}

int bitmap_set_append(struct bitmap_set *set, struct bitmap *bitmap,
                      struct byre_error *err)
{
    const size_t bytes = (set->count + 1) * sizeof(set->items[0]);
    struct bitmap **items = set->items;

    /* Room for a power of two of them. */
    if ((set->count & (set->count + 1)) == 0)
        items = realloc(items, 2 * bytes);
    if (items == NULL)
        return fail_nomem(err, "a list of bitmaps", bytes);
    set->items = items;
    items[set->count++] = bitmap;
    set->noting += bitmap_is_noting(bitmap);
    forget_published(set);
    return BYRE_OK;
}

static int drop_table(struct bitmap_set *set, const struct bitmap_place *place,
                      struct byre_error *err)
{
    const size_t bytes = (set->dropped_count + 1) * sizeof(set->dropped[0]);
    struct bitmap_place *dropped;

    if (place->entries == 0)
        return BYRE_OK;
    dropped = realloc(set->dropped, bytes);
    if (dropped == NULL)
        return fail_nomem(err, "a list of bitmap tables", bytes);
    dropped[set->dropped_count++] = *place;
    set->dropped = dropped;
    return BYRE_OK;
}

int bitmap_set_remove(struct bitmap_set *set, struct bitmap *bitmap,
                      struct byre_error *err)
{
    size_t index = 0;
    int r;

    r = drop_table(set, &bitmap->place, err);
    if (r < 0)
        return r;
    while (set->items[index] != bitmap)
        index++;
    set->count--;
    memmove(&set->items[index], &set->items[index + 1],
            (set->count - index) * sizeof(set->items[0]));
    bitmap_free(bitmap);
    set->rearranged = true;
    bitmap_set_changed(set);
    return BYRE_OK;
}

int bitmap_set_publish(struct bitmap_set *set, const struct byre_bitmap **ret,
                       size_t *ret_count, struct byre_error *err)
{
    struct byre_bitmap *list = set->published;

    if (list == NULL)
        list = calloc(set->count + 1, sizeof(list[0]));
    if (list == NULL)
        return fail_nomem(err, "a list of bitmaps",
                          set->count * sizeof(list[0]));
    for (size_t i = 0; list != set->published && i < set->count; i++) {
        const struct bitmap *bitmap = set->items[i];

        list[i] = (struct byre_bitmap){
            .name = bitmap->name,
            .granularity_bytes = UINT64_C(1) << bitmap->granularity_bits,
            .flags = (bitmap->inconsistent ? BYRE_BITMAP_IN_USE : 0) |
                     (bitmap->enabled ? BYRE_BITMAP_AUTO : 0),
        };
    }
    set->published = list;
    *ret = list;
    *ret_count = set->count;
    return BYRE_OK;
}
