/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bitmap.h"
#include "json_out.h"

/* What is shown of one bitmap. */
struct row {
    const struct byre_bitmap *bitmap;
    bool is_known; /* what it has noted; not of one that is inconsistent */
    uint64_t dirty_bytes;
};

static json_t *flags_json(uint32_t flags)
{
    json_t *array = json_array();

    if ((flags & BYRE_BITMAP_IN_USE) != 0)
        json_array_append_new(array, json_string("in-use"));
    if ((flags & BYRE_BITMAP_AUTO) != 0)
        json_array_append_new(array, json_string("auto"));
    return array;
}

json_t *bitmap_json(const struct byre_bitmap *bitmap)
{
    json_t *object = json_object();

    json_object_set_new(object, "flags", flags_json(bitmap->flags));
    json_object_set_new(object, "name", json_out_string(bitmap->name));
    json_object_set_new(object, "granularity",
                        json_integer((json_int_t)bitmap->granularity_bytes));
    return object;
}

static json_t *row_json(const struct row *row)
{
    json_t *object = bitmap_json(row->bitmap);

    if (row->is_known)
        json_object_set_new(object, "dirty-bytes",
                            json_integer((json_int_t)row->dirty_bytes));
    return object;
}

static const char *flags_text(uint32_t flags)
{
    static const char *const texts[] = { "-", "in-use", "auto", "in-use,auto" };

    return texts[flags & (BYRE_BITMAP_IN_USE | BYRE_BITMAP_AUTO)];
}

static void print_row(const struct row *row)
{
    printf("%12" PRIu64 " %-12s ", row->bitmap->granularity_bytes,
           flags_text(row->bitmap->flags));
    if (row->is_known)
        printf("%16" PRIu64 " ", row->dirty_bytes);
    else
        printf("%16s ", "-");
    print_plain(row->bitmap->name);
    printf("\n");
}

static bool look(const struct tool *tool, struct byre *img, struct row *row)
{
    struct byre_error err;

    row->is_known = (row->bitmap->flags & BYRE_BITMAP_IN_USE) == 0;
    if (!row->is_known || byre_bitmap_dirty_bytes(img, row->bitmap->name,
                                                  &row->dirty_bytes, &err) == 0)
        return true;
    report(tool, "%s", err.message);
    return false;
}

bool bitmap_list_print(const struct tool *tool, struct byre *img,
                       const char *name, bool json)
{
    const struct byre_bitmap *list = NULL;
    struct byre_error err;
    json_t *array = json ? json_array() : NULL;
    size_t count = 0, shown = 0;
    bool good = true;

    if (byre_bitmap_list(img, &list, &count, &err) < 0) {
        report(tool, "%s", err.message);
        json_decref(array);
        return false;
    }
    for (size_t i = 0; i < count && good; i++) {
        struct row row = { .bitmap = &list[i] };

        if (name != NULL && strcmp(name, list[i].name) != 0)
            continue;
        good = look(tool, img, &row);
        if (good && json)
            json_array_append_new(array, row_json(&row));
        if (good && !json && shown == 0)
            printf("%12s %-12s %16s %s\n", "GRANULARITY", "FLAGS",
                   "DIRTY BYTES", "NAME");
        if (good && !json)
            print_row(&row);
        shown++;
    }
    if (good && name != NULL && shown == 0) {
        report(tool, "Dirty bitmap '%s' not found", name);
        good = false;
    }
    if (good && json)
        json_out(stdout, array);
    json_decref(array);
    return good;
}
