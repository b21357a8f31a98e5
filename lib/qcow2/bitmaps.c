/* SPDX-License-Identifier: MIT */
/*
 * The bitmap directory, read at the first question about it: damaged bitmaps do
 * not keep anybody from the disk.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

void qcow2_bitmaps_free(struct bitmap_list *list)
{
    free(list->public_entries);
    free(list->texts);
    *list = (struct bitmap_list){ 0 };
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts a copy: the directory of an image can hold 65535 names. */
static int refuse_duplicate_names(const struct bitmap_list *list,
                                  struct byre_error *err)
{
    const char **names = calloc(list->count + 1, sizeof(names[0]));
    int r = BYRE_OK;

    if (names == NULL)
        return fail_nomem(err, "bitmap names", list->count * sizeof(names[0]));

    for (size_t i = 0; i < list->count; i++)
        names[i] = list->public_entries[i].name;
    qsort(names, list->count, sizeof(names[0]), compare_names);
    for (size_t i = 1; i < list->count && r == BYRE_OK; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            r = fail(err, BYRE_E_CORRUPT, "two bitmaps have the name '%s'",
                     names[i]);
    }
    free(names);
    return r;
}

/* Appends the entry's name to the texts, which have room for all. */
static void publish(const struct qcow2_bitmap_entry *entry, char **text,
                    struct byre_bitmap *ret)
{
    memcpy(*text, entry->name, entry->name_bytes);
    (*text)[entry->name_bytes] = '\0';
    *ret = (struct byre_bitmap){
        .name = *text,
        .granularity_bytes = UINT64_C(1) << entry->granularity_bits,
        .flags = entry->flags,
    };
    *text += entry->name_bytes + 1;
}

static int decode_directory(const struct qcow2 *qcow2, const uint8_t *raw,
                            size_t length, struct bitmap_list *list,
                            struct byre_error *err)
{
    char *text = list->texts;
    size_t position = 0;
    int r;

    for (size_t i = 0; i < list->count; i++) {
        struct qcow2_bitmap_entry entry;
        size_t entry_bytes;

        r = qcow2_bitmap_entry_decode(
            raw + position, length - position, qcow2->header.cluster_bits,
            align_down(qcow2->header.size_bytes, ENGINE_SECTOR_BYTES), &entry,
            &entry_bytes, err);
        if (r < 0) {
            error_prefix(err, "bitmap %zu of %zu", i + 1, list->count);
            return r;
        }
        publish(&entry, &text, &list->public_entries[i]);
        position += entry_bytes;
    }
    if (position != length)
        return fail_at(err, BYRE_E_CORRUPT,
                       qcow2->bitmaps_extension.directory_offset,
                       "the bitmap directory has %zu bytes, but its %zu "
                       "entries take %zu",
                       length, list->count, position);
    return refuse_duplicate_names(list, err);
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

static int load_directory(const struct qcow2 *qcow2, struct bitmap_list *list,
                          struct byre_error *err)
{
    const size_t length = (size_t)qcow2->bitmaps_extension.directory_bytes;
    uint8_t *raw;
    int r;

    r = check_directory_place(qcow2, err);
    if (r < 0)
        return r;

    raw = malloc(length + 1);
    list->texts = malloc(length + list->count + 1);
    list->public_entries =
        calloc(list->count + 1, sizeof(list->public_entries[0]));
    r = raw == NULL || list->texts == NULL || list->public_entries == NULL
            ? fail_nomem(err, "the bitmap directory", length)
            : store_read(qcow2->store,
                         qcow2->bitmaps_extension.directory_offset, raw, length,
                         err);
    if (r == BYRE_OK)
        r = decode_directory(qcow2, raw, length, list, err);
    free(raw);
    return r;
}

static int load(const struct qcow2 *qcow2, struct bitmap_list *ret_list,
                struct byre_error *err)
{
    struct bitmap_list list = { 0 };
    int r;

    if (!qcow2->has_bitmaps)
        return BYRE_OK;
    if (qcow2->bitmaps_damaged)
        return fail(err, BYRE_E_CORRUPT, "%s", qcow2->bitmaps_damage);

    list.count = qcow2->bitmaps_extension.bitmap_count;
    r = load_directory(qcow2, &list, err);
    if (r < 0) {
        qcow2_bitmaps_free(&list);
        return r;
    }
    *ret_list = list;
    return BYRE_OK;
}

int qcow2_bitmaps(struct engine *engine, const struct byre_bitmap **ret,
                  size_t *ret_count, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r = BYRE_OK;

    pthread_mutex_lock(&qcow2->lists_lock);
    if (!qcow2->bitmaps_loaded)
        r = load(qcow2, &qcow2->bitmaps, err);
    if (r == BYRE_OK) {
        qcow2->bitmaps_loaded = true;
        *ret = qcow2->bitmaps.public_entries;
        *ret_count = qcow2->bitmaps.count;
    }
    pthread_mutex_unlock(&qcow2->lists_lock);
    return r;
}
