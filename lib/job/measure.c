/* SPDX-License-Identifier: MIT */
/*
 * Measure: how large an image file will be, before it is made.
 *
 * The sums are those that QEMU answers with, to the byte: whoever sets aside
 * space by them does so for either tool.  They round the tables up more than
 * the images need that are made here, which are never larger.
 */
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "format/bitmap.h"
#include "image/create_check.h"
#include "image/image.h"
#include "qcow2/create_luks.h"
#include "qcow2/layout.h"

#define EXTENT_BATCH      64
#define TABLE_ENTRY_BYTES 8

struct measure {
    struct byre *source;             /* NULL: an empty disk */
    struct byre_create_options opts; /* with the disk's size */
    struct layout_choice choice;
    struct byre_measure_result result;
};

static uint64_t cluster_bytes(const struct measure *measure)
{
    return measure->opts.cluster_size_bytes;
}

static uint64_t rounded_disk_bytes(const struct measure *measure)
{
    return align_up(measure->opts.virtual_size_bytes, cluster_bytes(measure));
}

/* All but the guest's clusters. */
static uint64_t metadata_bytes(const struct measure *measure)
{
    const struct layout_choice *choice = &measure->choice;
    const uint64_t cluster = cluster_bytes(measure);
    const uint64_t disk = rounded_disk_bytes(measure);
    const uint64_t l2_entry_bytes =
        choice->extended_l2 ? 2 * TABLE_ENTRY_BYTES : TABLE_ENTRY_BYTES;
    const uint64_t l2_bytes =
        align_up(disk / cluster, cluster / l2_entry_bytes) * l2_entry_bytes;
    const uint64_t l1_bytes =
        align_up(l2_bytes / cluster * TABLE_ENTRY_BYTES, cluster);
    const uint64_t tables = cluster + l2_bytes + l1_bytes;
    uint64_t refcount_table, refcount_blocks;

    layout_count_refcounts(choice->cluster_bits, choice->refcount_order,
                           (tables + disk) / cluster, &refcount_table,
                           &refcount_blocks);
    return tables + (refcount_table + refcount_blocks) * cluster +
           align_up(choice->luks_bytes, cluster);
}

/* ---- What the source holds ---- */

static bool is_stored(const struct byre_extent *extent)
{
    const uint32_t stored = BYRE_EXTENT_DATA | BYRE_EXTENT_ALLOCATED;

    return (extent->flags & BYRE_EXTENT_ZERO) == 0 &&
           (extent->flags & stored) == stored;
}

/* The bytes of the target's clusters that bytes of the source fall into. */
static int count_touched(const struct measure *measure, uint64_t *ret_bytes,
                         struct byre_error *err)
{
    const uint64_t cluster = cluster_bytes(measure);
    const uint64_t size = measure->opts.virtual_size_bytes;
    struct byre_extent extents[EXTENT_BATCH];
    uint64_t counted_to = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;

    while (offset < size) {
        size_t count = 0;
        int r;

        r = byre_extents(measure->source, offset, size - offset, 0, extents,
                         EXTENT_BATCH, &count, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++) {
            const uint64_t end = extents[i].offset + extents[i].length;

            offset = end;
            if (!is_stored(&extents[i]) || end <= counted_to)
                continue;
            bytes +=
                align_up(end, cluster) -
                max_u64(counted_to, align_down(extents[i].offset, cluster));
            counted_to = align_up(end, cluster);
        }
    }
    *ret_bytes = bytes;
    return BYRE_OK;
}

static int guest_bytes(const struct measure *measure, uint64_t *ret_bytes,
                       struct byre_error *err)
{
    const uint32_t preallocation = measure->opts.preallocation;

    *ret_bytes = 0;
    if (preallocation == BYRE_PREALLOCATION_FALLOC ||
        preallocation == BYRE_PREALLOCATION_FULL ||
        (measure->source != NULL && measure->opts.backing_name != NULL))
        *ret_bytes = rounded_disk_bytes(measure); /* as much as may be */
    else if (measure->source != NULL)
        return count_touched(measure, ret_bytes, err);
    return BYRE_OK;
}

/* ---- Bitmaps ---- */

static uint64_t bitmap_bytes(const struct measure *measure,
                             const struct byre_bitmap *bitmap)
{
    const uint64_t cluster = cluster_bytes(measure);
    const uint64_t bits = div_round_up(measure->opts.virtual_size_bytes,
                                       bitmap->granularity_bytes);
    const uint64_t clusters = div_round_up(div_round_up(bits, 8), cluster);

    return clusters * cluster + align_up(clusters * TABLE_ENTRY_BYTES, cluster);
}

/* Inconsistent ones cannot be copied. */
static int count_bitmaps(struct measure *measure, struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    const struct byre_bitmap *bitmaps = NULL;
    uint64_t directory_bytes = 0;
    uint64_t bytes = 0;
    size_t count = 0;
    int r;

    if (measure->source == NULL || measure->opts.version < 3)
        return BYRE_OK;
    r = byre_get_info(measure->source, &info, err);
    if (r < 0 || info.version != 3)
        return r;
    r = byre_bitmap_list(measure->source, &bitmaps, &count, err);
    if (r < 0)
        return r;

    for (size_t i = 0; i < count; i++) {
        struct qcow2_bitmap_entry entry = {
            .name_bytes = (uint16_t)strlen(bitmaps[i].name),
        };

        if (bitmaps[i].flags & BYRE_BITMAP_IN_USE)
            continue;
        bytes += bitmap_bytes(measure, &bitmaps[i]);
        directory_bytes += qcow2_bitmap_entry_bytes(&entry);
    }
    measure->result.bitmaps_bytes =
        bytes + align_up(directory_bytes, cluster_bytes(measure));
    return BYRE_OK;
}

/* ---- By format ---- */

static int measure_qcow2(struct measure *measure, struct byre_error *err)
{
    struct layout layout;
    uint64_t guest, metadata;
    int r;

    measure->choice = (struct layout_choice){
        .size_bytes = measure->opts.virtual_size_bytes,
        .cluster_bits = log2_of(cluster_bytes(measure)),
        .refcount_order = log2_of(measure->opts.refcount_bits),
        .extended_l2 = create_flag(&measure->opts, BYRE_CREATE_EXTENDED_L2),
    };
    r = create_luks_size(&measure->opts, &measure->choice.luks_bytes, err);
    if (r == BYRE_OK)
        r = layout_make(&measure->choice, &layout, err);
    if (r == BYRE_OK)
        r = guest_bytes(measure, &guest, err);
    if (r == BYRE_OK)
        r = count_bitmaps(measure, err);
    if (r < 0)
        return r;

    metadata = metadata_bytes(measure);
    measure->result.required_bytes = metadata + guest;
    measure->result.fully_allocated_bytes =
        metadata + rounded_disk_bytes(measure);
    return BYRE_OK;
}

static int measure_by_format(struct measure *measure, struct byre_error *err)
{
    const char *format = measure->opts.format;
    const uint64_t size = measure->opts.virtual_size_bytes;

    if (strcmp(format, "qcow2") == 0)
        return measure_qcow2(measure, err);
    if (strcmp(format, "raw") != 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Block driver '%s' does not support size measurement; "
                    "raw and qcow2 do",
                    format);
    measure->result.required_bytes = size;
    measure->result.fully_allocated_bytes = size;
    return BYRE_OK;
}

/* The target's options as for creating it; the size is the source's. */
static int take_options(struct measure *measure,
                        const struct byre_create_options *target,
                        struct byre_error *err)
{
    int r;

    if (measure->source != NULL) {
        r = check_disk_range(measure->source, 0, 0, err);
        if (r < 0)
            return r;
    }
    r = create_check(target, &measure->opts, err);
    if (r < 0)
        return r;
    if (measure->source != NULL)
        measure->opts.virtual_size_bytes = measure->source->engine->size_bytes;
    return create_check_size(&measure->opts, err);
}

int byre_measure(struct byre *source, const struct byre_create_options *target,
                 struct byre_measure_result *ret_result, struct byre_error *err)
{
    struct measure measure = {
        .source = source,
        .result = BYRE_MEASURE_RESULT_INIT,
    };
    int r;

    if (ret_result == NULL)
        return fail(err, BYRE_E_INVALID, "room for the result is required");

    measure.result.bitmaps_bytes = BYRE_NO_OFFSET;
    r = take_options(&measure, target, err);
    if (r == BYRE_OK)
        r = measure_by_format(&measure, err);
    if (r < 0)
        return r;
    return sized_copy_out(&measure.result, sizeof(measure.result), ret_result,
                          "struct byre_measure_result", err);
}
