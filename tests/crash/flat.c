/* SPDX-License-Identifier: MIT */
#include "flat.h"

#include <stdio.h>

#include "base/error.h"
#include "memory.h"
#include "scratch.h"
#include "store/file.h"
#include "strict.h"

/* ---- Making and ending ---- */

static int make_store(struct flat *flat, size_t index, struct byre_error *err)
{
    const struct beginning *from = flat->beginning;
    char path[300];
    int r;

    if (flat->folder[0] == '\0')
        return byre_store_new_memory(from->files[index],
                                     from->file_bytes[index],
                                     &flat->stores[index], err);
    snprintf(path, sizeof(path), "%s/file%zu", flat->folder, index);
    r = file_store_open(path, FILE_STORE_WRITE | FILE_STORE_CREATE,
                        &flat->stores[index], err);
    if (r < 0 || from->file_bytes[index] == 0)
        return r;
    return store_write(flat->stores[index], 0, from->files[index],
                       from->file_bytes[index], err);
}

static int open_image(struct flat *flat, struct byre_error *err)
{
    return image_open(flat->kind, flat->stores, &flat->options, &flat->image,
                      err);
}

static void draw_options(struct flat *flat, uint64_t *seed)
{
    static const uint64_t caches[] = { 0, 0, 4096, 65536 };

    flat->options = (struct image_options){ .flags = BYRE_OPEN_WRITE };
    flat->options.cache_bytes = caches[draw(seed, 4)];
    if (draw(seed, 4) == 0)
        flat->options.flags |= BYRE_OPEN_KEEP_SPACE;
    flat->stripe_bytes = draw(seed, 3) == 0
                             ? flat->kind->cluster_bytes
                             : MODEL_SECTOR * (1 + draw(seed, 5));
}

int flat_init(struct flat *flat, const struct beginning *beginning,
              uint64_t seed, unsigned threads, struct byre_error *err)
{
    const struct image_kind *kind = beginning->plan->kind;
    const uint64_t disk = image_kind_disk(kind);
    int r = BYRE_OK;

    *flat = (struct flat){ .beginning = beginning,
                           .kind = kind,
                           .size_bytes = disk,
                           .max_bytes = disk * 2,
                           .threads = threads };
    draw_options(flat, &seed);
    flat->bytes = memory_new((size_t)flat->max_bytes);
    flat->touched =
        memory_new((size_t)(flat->max_bytes / kind->cluster_bytes) + 2);
    memcpy(flat->bytes, beginning->disk, (size_t)disk);
    for (uint64_t i = 0; kind->recipe != NULL && i * kind->cluster_bytes < disk;
         i++)
        flat->touched[i] = true;
    if (draw(&seed, 3) == 0)
        r = scratch_folder(flat->folder, err);
    for (size_t i = 0; r == BYRE_OK && i < image_kind_stores(kind); i++)
        r = make_store(flat, i, err);
    if (r == BYRE_OK && kind->recipe == NULL)
        r = image_create(kind, flat->stores, err);
    return r < 0 ? r : open_image(flat, err);
}

void flat_done(struct flat *flat)
{
    image_close(&flat->image, NULL);
    for (size_t i = 0; i < MAX_STORES; i++)
        byre_store_unref(flat->stores[i]);
    if (flat->folder[0] != '\0')
        scratch_remove(flat->folder);
    free(flat->bytes);
    free(flat->touched);
}

/* ---- Both sides ---- */

static void touch(struct flat *flat, const struct step *range)
{
    const uint64_t cluster = flat->kind->cluster_bytes;

    if (flat->threads > 1 || range->length == 0)
        return;
    for (uint64_t i = range->offset / cluster;
         i <= (range->offset + range->length - 1) / cluster; i++)
        flat->touched[i] = true;
}

int flat_write(struct flat *flat, const struct step *range, uint32_t flags,
               uint64_t pattern, struct byre_error *err)
{
    touch(flat, range);
    disk_pattern(pattern, range->offset, flat->bytes + range->offset,
                 range->length);
    return byre_write(flat->image.disk, range->offset,
                      flat->bytes + range->offset, (size_t)range->length, flags,
                      err);
}

int flat_zero(struct flat *flat, const struct step *range, uint32_t flags,
              struct byre_error *err)
{
    touch(flat, range);
    memset(flat->bytes + range->offset, 0, (size_t)range->length);
    return byre_zero(flat->image.disk, range->offset, range->length, flags,
                     err);
}

int flat_check(struct flat *flat, const struct step *range,
               struct byre_error *err)
{
    const uint8_t *want = flat->bytes + range->offset;
    uint8_t *bytes = memory_new((size_t)range->length + 1);
    uint64_t i = 0;
    int r = byre_read(flat->image.disk, range->offset, bytes,
                      (size_t)range->length, err);

    while (r == BYRE_OK && i < range->length && bytes[i] == want[i])
        i++;
    if (r == BYRE_OK && i < range->length)
        r = fail(err, BYRE_E_CORRUPT, "byte %llu is %02x instead of %02x",
                 (unsigned long long)(range->offset + i), bytes[i], want[i]);
    free(bytes);
    return r;
}

/* Where the format has no word for it, the clusters may read as before. */
static int take_over(struct flat *flat, uint64_t start, uint64_t end,
                     struct byre_error *err)
{
    const uint64_t length = end - start;
    uint8_t *bytes = memory_new((size_t)length + 1);
    int r = byre_read(flat->image.disk, start, bytes, (size_t)length, err);

    for (uint64_t i = 0; r == BYRE_OK && i < length; i++) {
        if (bytes[i] != 0 && bytes[i] != flat->bytes[start + i])
            r = fail(err, BYRE_E_CORRUPT,
                     "byte %llu is neither zero nor as before a discard",
                     (unsigned long long)(start + i));
        flat->bytes[start + i] = bytes[i];
    }
    free(bytes);
    return r;
}

int flat_discard(struct flat *flat, const struct step *range,
                 struct byre_error *err)
{
    const uint64_t cluster = flat->kind->cluster_bytes;
    const uint64_t start = (range->offset + cluster - 1) / cluster * cluster;
    uint64_t end = range->offset + range->length;
    int r =
        byre_discard(flat->image.disk, range->offset, range->length, 0, err);

    if (end != flat->size_bytes)
        end = end / cluster * cluster;
    if (r < 0 || end <= start)
        return r;
    if ((flat->kind->flags & KIND_MAKES_NO_ZEROES) != 0)
        return take_over(flat, start, end, err);
    memset(flat->bytes + start, 0, (size_t)(end - start));
    return BYRE_OK;
}

/* ---- Operations of a lone thread ---- */

struct step flat_draw_range(const struct flat *flat, uint64_t *seed)
{
    const uint64_t cluster = flat->kind->cluster_bytes;
    const uint64_t spans[] = { 100,     512,         5000,
                               cluster, 3 * cluster, flat->size_bytes / 3 };
    struct step range = { .kind = STEP_WRITE };
    uint64_t unit = 1;

    if (draw(seed, 2) == 0)
        unit = draw(seed, 2) == 0 ? 512 : cluster;
    range.offset = draw(seed, flat->size_bytes) / unit * unit;
    range.length = 1 + draw(seed, spans[draw(seed, 6)] + 1);
    range.length = (range.length + unit - 1) / unit * unit;
    if (range.length > flat->size_bytes - range.offset)
        range.length = flat->size_bytes - range.offset;
    return range;
}

static bool can_compress(const struct flat *flat, uint64_t cluster_index)
{
    return flat->kind->encryption == BYRE_ENCRYPTION_NONE &&
           (flat->kind->flags & KIND_DATA_FILE) == 0 &&
           flat->kind->preallocation == BYRE_PREALLOCATION_OFF &&
           !flat->touched[cluster_index];
}

static int compress(struct flat *flat, uint64_t *seed, struct byre_error *err)
{
    const uint64_t cluster = flat->kind->cluster_bytes;
    struct step range = flat_draw_range(flat, seed);

    range.offset = range.offset / cluster * cluster;
    range.length = cluster < flat->size_bytes - range.offset
                       ? cluster
                       : flat->size_bytes - range.offset;
    if (!can_compress(flat, range.offset / cluster))
        return flat_check(flat, &range, err);
    return flat_write(flat, &range, BYRE_WRITE_COMPRESSED, *seed, err);
}

static int reopen(struct flat *flat, struct byre_error *err)
{
    int r = image_close(&flat->image, err);

    if (r == BYRE_OK)
        r = open_image(flat, err);
    return r;
}

/* Version 2 cannot hide what a longer base holds, and version 1 is as it is. */
static bool can_resize(const struct flat *flat)
{
    return flat->kind->version == 3 ||
           (flat->kind->version == 2 && flat->kind->base_bytes == 0 &&
            flat->beginning->snapshot == NULL);
}

static int resize(struct flat *flat, uint64_t *seed, struct byre_error *err)
{
    const uint64_t before = flat->size_bytes;
    const uint64_t size =
        (1 + draw(seed, flat->max_bytes / MODEL_SECTOR)) * MODEL_SECTOR;
    const uint64_t end = size < before ? before : size;
    int r;

    if (!can_resize(flat) || size > flat->max_bytes)
        return BYRE_OK;
    r = byre_resize(flat->image.disk, size, BYRE_RESIZE_SHRINK,
                    BYRE_PREALLOCATION_OFF, err);
    if (r < 0)
        return r;
    flat->size_bytes = size;
    if (size < before)
        memset(flat->bytes + size, 0, (size_t)(end - size));
    touch(flat,
          &(struct step){ .offset = size < before ? size : before,
                          .length = end - (size < before ? size : before) });
    return BYRE_OK;
}

int flat_operate(struct flat *flat, uint64_t *seed, struct byre_error *err)
{
    const struct step range = flat_draw_range(flat, seed);
    const uint32_t fua = draw(seed, 16) == 0 ? BYRE_WRITE_FUA : 0;
    const uint64_t what = draw(seed, 100);

    if (what < 40)
        return flat_write(flat, &range, fua, *seed, err);
    if (what < 60)
        return flat_check(flat, &range, err);
    if (what < 68)
        return flat_zero(flat, &range, fua, err);
    if (what < 78)
        return flat_zero(flat, &range, fua | BYRE_WRITE_MAY_UNMAP, err);
    if (what < 86)
        return flat_discard(flat, &range, err);
    if (what < 93)
        return compress(flat, seed, err);
    if (what < 97)
        return byre_flush(flat->image.disk, err);
    return what == 97 ? resize(flat, seed, err) : reopen(flat, err);
}

/* ---- The end ---- */

static int check_counts(struct flat *flat, struct byre_error *err)
{
    struct strict_report report;

    strict_check_store(flat->stores[0], &report);
    if (report.corruptions + report.missing_copied + report.leaks +
                report.leaks_past_end ==
            0 &&
        !report.dirty)
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT,
                "closed: dirty %d, %llu corruptions (%s), %llu missing COPIED, "
                "%llu leaks (%s), %llu past the end",
                report.dirty, (unsigned long long)report.corruptions,
                report.first, (unsigned long long)report.missing_copied,
                (unsigned long long)report.leaks, report.first_leak,
                (unsigned long long)report.leaks_past_end);
}

int flat_finish(struct flat *flat, struct byre_error *err)
{
    const struct step all = { .length = flat->size_bytes };
    int r = flat_check(flat, &all, err);

    if (r == BYRE_OK)
        r = image_close(&flat->image, err);
    if (r == BYRE_OK)
        r = check_counts(flat, err);
    if (r == BYRE_OK)
        r = open_image(flat, err);
    if (r == BYRE_OK)
        r = flat_check(flat, &all, err);
    return r;
}
