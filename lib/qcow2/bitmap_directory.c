/* SPDX-License-Identifier: MIT */
/*
 * The bitmap directory: what bitmaps an image has, as the file says it.  It is
 * read at the first question about it: damaged bitmaps do not keep anybody from
 * reading the disk.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

/* ---- Loading ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts a copy: the directory of an image can hold 65535 names. */
static int refuse_duplicate_names(const struct bitmap_set *set,
                                  struct byre_error *err)
{
    const char **names = calloc(set->count + 1, sizeof(names[0]));
    int r = BYRE_OK;

    if (names == NULL)
        return fail_nomem(err, "bitmap names", set->count * sizeof(names[0]));

    for (size_t i = 0; i < set->count; i++)
        names[i] = set->items[i]->name;
    qsort(names, set->count, sizeof(names[0]), compare_names);
    for (size_t i = 1; i < set->count && r == BYRE_OK; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            r = fail(err, BYRE_E_CORRUPT, "two bitmaps have the name '%s'",
                     names[i]);
    }
    free(names);
    return r;
}

static int append_entry(const struct qcow2_bitmap_entry *entry,
                        struct bitmap_set *set, struct byre_error *err)
{
    struct bitmap *bitmap = calloc(1, sizeof(*bitmap));
    int r;

    if (bitmap == NULL)
        return fail_nomem(err, "a bitmap", sizeof(*bitmap));
    *bitmap = (struct bitmap){
        .name = calloc(1, entry->name_bytes + UINT64_C(1)),
        .granularity_bits = entry->granularity_bits,
        .enabled = (entry->flags & QCOW2_BITMAP_FLAG_AUTO) != 0,
        .inconsistent = (entry->flags & QCOW2_BITMAP_FLAG_IN_USE) != 0,
        .place = { entry->table_offset, entry->table_entries },
    };
    if (bitmap->name == NULL) {
        r = fail_nomem(err, "the name of a bitmap", entry->name_bytes);
    } else {
        memcpy(bitmap->name, entry->name, entry->name_bytes);
        r = bitmap_set_append(set, bitmap, err);
    }
    if (r < 0)
        bitmap_free(bitmap);
    return r;
}

static int decode_directory(const struct qcow2 *qcow2, const uint8_t *raw,
                            size_t length, struct bitmap_set *set,
                            struct byre_error *err)
{
    const struct qcow2_bitmaps_extension *extension = &qcow2->bitmaps_extension;
    size_t position = 0;
    int r;

    for (uint32_t i = 0; i < extension->bitmap_count; i++) {
        struct qcow2_bitmap_entry entry;
        size_t entry_bytes;

        r = qcow2_bitmap_entry_decode(
            raw + position, length - position, qcow2->header.cluster_bits,
            align_down(qcow2->header.size_bytes, ENGINE_SECTOR_BYTES), &entry,
            &entry_bytes, err);
        if (r == BYRE_OK)
            r = append_entry(&entry, set, err);
        if (r < 0) {
            error_prefix(err, "bitmap %" PRIu32 " of %" PRIu32, i + 1,
                         extension->bitmap_count);
            return r;
        }
        position += entry_bytes;
    }
    if (position != length)
        return fail_at(err, BYRE_E_CORRUPT, extension->directory_offset,
                       "the bitmap directory has %zu bytes, but its %zu "
                       "entries take %zu",
                       length, set->count, position);
    return refuse_duplicate_names(set, err);
}

/* The directory of an honest image lies inside the file. */
static int check_directory_place(const struct qcow2 *qcow2,
                                 struct byre_error *err)
{
    const struct qcow2_bitmaps_extension *extension = &qcow2->bitmaps_extension;
    uint64_t file_bytes;
    int r;

    r = store_get_size(qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;
    if (!range_within(extension->directory_offset, extension->directory_bytes,
                      file_bytes))
        return fail_at(err, BYRE_E_CORRUPT, extension->directory_offset,
                       "the bitmap directory of %" PRIu64 " bytes at %" PRIu64
                       " ends past the file's %" PRIu64 " bytes",
                       extension->directory_bytes, extension->directory_offset,
                       file_bytes);
    return BYRE_OK;
}

static int read_directory(const struct qcow2 *qcow2, struct bitmap_set *set,
                          struct byre_error *err)
{
    const size_t length = (size_t)qcow2->bitmaps_extension.directory_bytes;
    uint8_t *raw;
    int r;

    r = check_directory_place(qcow2, err);
    if (r < 0)
        return r;

    raw = malloc(length + 1);
    if (raw == NULL)
        return fail_nomem(err, "the bitmap directory", length);
    r = store_read(qcow2->store, qcow2->bitmaps_extension.directory_offset, raw,
                   length, err);
    if (r == BYRE_OK)
        r = decode_directory(qcow2, raw, length, set, err);
    free(raw);
    return r;
}

int bitmap_directory_load(struct qcow2 *qcow2, struct bitmap_set *ret_set,
                          struct byre_error *err)
{
    struct bitmap_set set = { 0 };
    int r;

    if (qcow2->has_bitmaps && qcow2->bitmaps_damaged)
        return fail(err, BYRE_E_CORRUPT, "%s", qcow2->bitmaps_damage);

    r = qcow2->has_bitmaps ? read_directory(qcow2, &set, err) : BYRE_OK;
    if (r < 0) {
        bitmap_set_done(&set);
        return r;
    }
    set.changed = false;
    *ret_set = set;
    return BYRE_OK;
}

/* ---- Encoding ---- */

struct qcow2_bitmap_entry bitmap_entry(const struct bitmap *bitmap, bool in_use)
{
    return (struct qcow2_bitmap_entry){
        .table_offset = bitmap->place.offset,
        .table_entries = bitmap->place.entries,
        .flags =
            (in_use || bitmap->inconsistent ? QCOW2_BITMAP_FLAG_IN_USE : 0) |
            (bitmap->enabled ? QCOW2_BITMAP_FLAG_AUTO : 0),
        .granularity_bits = (uint8_t)bitmap->granularity_bits,
        .name = bitmap->name,
        .name_bytes = (uint16_t)strlen(bitmap->name),
    };
}

uint64_t bitmap_directory_bytes(const struct bitmap_set *set)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < set->count; i++) {
        const struct qcow2_bitmap_entry entry =
            bitmap_entry(set->items[i], false);

        bytes += qcow2_bitmap_entry_bytes(&entry);
    }
    return bytes;
}

void bitmap_directory_encode(const struct bitmap_set *set, bool in_use,
                             uint8_t *buf)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct qcow2_bitmap_entry entry =
            bitmap_entry(set->items[i], in_use);

        qcow2_bitmap_entry_encode(&entry, buf);
        buf += qcow2_bitmap_entry_bytes(&entry);
    }
}
