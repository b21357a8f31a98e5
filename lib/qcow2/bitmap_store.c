/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps from memory to the file.
 *
 * What changed is written to new clusters: bits, tables, then a new directory;
 * when all of that and the counts of it are durable, one change of the image's
 * head switches to it, and the old clusters are released.
 *
 * Where only flags changed, the directory is written in place: each entry has
 * them in one byte, so that whatever part of it arrives before a crash is a
 * directory, too.  Setting "in use" early and clearing it late is harmless.
 */
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/head.h"
#include "qcow2/internal.h"

struct storing {
    struct qcow2 *qcow2;
    bool in_use;
    struct offset_list taken;    /* new clusters */
    struct offset_list released; /* that nothing refers to afterwards */
    struct bitmap_place *places; /* of each bitmap, afterwards */
    struct qcow2_bitmaps_extension extension;
    uint8_t *buf; /* a cluster */
};

static uint64_t cluster_bytes(const struct storing *storing)
{
    return engine_cluster_bytes(&storing->qcow2->engine);
}

static bool needs_writing(const struct bitmap *bitmap)
{
    return !bitmap->inconsistent &&
           (bitmap->place.entries == 0 || atomic_load(&bitmap->bits.changed));
}

/* ---- Clusters ---- */

static int keep_run(struct storing *storing, const struct host_run *run,
                    struct byre_error *err)
{
    struct qcow2 *qcow2 = storing->qcow2;
    const uint64_t bytes = run->clusters * cluster_bytes(storing);
    const size_t before = storing->taken.count;
    int r;

    r = bitmap_clusters_add(&storing->taken, qcow2, run->offset, bytes, err);
    if (r == BYRE_OK)
        r = metadata_add(&qcow2->metadata, METADATA_BITMAPS, run->offset, bytes,
                         cluster_bytes(storing), err);
    if (r < 0) {
        storing->taken.count = before;
        allocator_give_back(qcow2->allocator, run->offset, bytes, NULL);
        return r;
    }
    qcow2_raise_file_end(qcow2, run->offset + bytes);
    return BYRE_OK;
}

/* Some of `clusters`, or all of them in a row. */
static int take(struct storing *storing, uint64_t clusters, bool all,
                struct host_run *ret_run, struct byre_error *err)
{
    struct qcow2 *qcow2 = storing->qcow2;
    int r;

    r = all ? allocator_take_all(qcow2->allocator, clusters, ret_run, err)
            : allocator_take(qcow2->allocator, clusters, ret_run, err);
    if (r < 0)
        return qcow2_mark_corrupt(qcow2, r, err);
    return keep_run(storing, ret_run, err);
}

/* Writes a table in whole clusters, which `buf` fills. */
static int write_table(struct storing *storing, const uint8_t *buf,
                       uint64_t bytes, uint64_t *ret_offset,
                       struct byre_error *err)
{
    struct host_run run;
    int r;

    r = take(storing, bytes / cluster_bytes(storing), true, &run, err);
    if (r == BYRE_OK)
        r = store_write(storing->qcow2->store, run.offset, buf, (size_t)bytes,
                        err);
    if (r == BYRE_OK)
        *ret_offset = run.offset;
    return r;
}

static int give_back(struct storing *storing, int r)
{
    struct qcow2 *qcow2 = storing->qcow2;
    const uint64_t cluster = cluster_bytes(storing);

    for (size_t i = 0; i < storing->taken.count; i++) {
        metadata_remove(&qcow2->metadata, storing->taken.offsets[i], cluster,
                        NULL);
        allocator_give_back(qcow2->allocator, storing->taken.offsets[i],
                            cluster, NULL);
    }
    return r;
}

static void release_old(struct storing *storing)
{
    struct qcow2 *qcow2 = storing->qcow2;
    const uint64_t cluster = cluster_bytes(storing);

    for (size_t i = 0; i < storing->released.count; i++) {
        const uint64_t offset = storing->released.offsets[i];

        metadata_remove(&qcow2->metadata, offset, cluster, NULL);
        allocator_release(qcow2->allocator, offset, cluster, 0, NULL);
    }
}

/* ---- One bitmap ---- */

/* The bits that cluster `index` of a bitmap holds. */
struct cluster_bits {
    uint64_t first;
    uint64_t count;
    enum bitmap_cluster_kind kind;
};

static struct cluster_bits look_at(const struct storing *storing,
                                   const struct bitmap *bitmap, uint64_t index)
{
    const uint64_t most = cluster_bytes(storing) * 8;
    struct cluster_bits bits = { .first = index * most };
    uint64_t set;

    bits.count = min_u64(most, bitmap->bits.bits - bits.first);
    set = dirty_bits_count(&bitmap->bits, bits.first, bits.count);
    /* QEMU takes "ones" for more bits than a bitmap has in its last part. */
    bits.kind = set == 0      ? BITMAP_CLUSTER_ZEROES
                : set == most ? BITMAP_CLUSTER_ONES
                              : BITMAP_CLUSTER_DATA;
    return bits;
}

static uint64_t count_data(const struct storing *storing,
                           const struct bitmap *bitmap, uint32_t entries)
{
    uint64_t clusters = 0;

    for (uint32_t i = 0; i < entries; i++)
        clusters +=
            look_at(storing, bitmap, i).kind == BITMAP_CLUSTER_DATA ? 1 : 0;
    return clusters;
}

/* Writes the bits, and fills the table that refers to them. */
static int write_bits(struct storing *storing, const struct bitmap *bitmap,
                      uint32_t entries, uint8_t *table, struct byre_error *err)
{
    const size_t cluster = (size_t)cluster_bytes(storing);
    uint64_t left = count_data(storing, bitmap, entries);
    struct host_run run = { 0 };
    int r = BYRE_OK;

    for (uint32_t i = 0; i < entries && r == BYRE_OK; i++) {
        const struct cluster_bits bits = look_at(storing, bitmap, i);

        if (bits.kind == BITMAP_CLUSTER_DATA) {
            if (run.clusters == 0)
                r = take(storing, left, false, &run, err);
            if (r < 0)
                return r;
            dirty_bits_export(&bitmap->bits, bits.first, storing->buf, cluster);
            r = store_write(storing->qcow2->store, run.offset, storing->buf,
                            cluster, err);
        }
        be64_put(table + i * UINT64_C(8),
                 qcow2_bitmap_table_entry_encode(bits.kind, run.offset));
        if (bits.kind == BITMAP_CLUSTER_DATA) {
            run.offset += cluster;
            run.clusters--;
            left--;
        }
    }
    return r;
}

static int write_bitmap(struct storing *storing, const struct bitmap *bitmap,
                        struct bitmap_place *ret_place, struct byre_error *err)
{
    const struct qcow2 *qcow2 = storing->qcow2;
    const uint32_t entries = (uint32_t)qcow2_bitmap_table_entries(
        qcow2->engine.size_bytes, bitmap->granularity_bits,
        qcow2->header.cluster_bits);
    const uint64_t bytes =
        align_up(UINT64_C(8) * entries, cluster_bytes(storing));
    uint8_t *table = calloc(1, (size_t)bytes);
    int r;

    if (table == NULL)
        return fail_nomem(err, "a bitmap table", (size_t)bytes);
    r = write_bits(storing, bitmap, entries, table, err);
    if (r == BYRE_OK)
        r = write_table(storing, table, bytes, &ret_place->offset, err);
    free(table);
    if (r < 0)
        error_prefix(err, "bitmap '%s'", bitmap->name);
    ret_place->entries = entries;
    return r;
}

static int write_bitmaps(struct storing *storing, struct byre_error *err)
{
    const struct bitmap_set *set = &storing->qcow2->bitmaps;
    int r = BYRE_OK;

    storing->places = calloc(set->count + 1, sizeof(storing->places[0]));
    storing->buf = malloc((size_t)cluster_bytes(storing));
    if (storing->places == NULL || storing->buf == NULL)
        return fail_nomem(err, "places of bitmaps",
                          set->count * sizeof(storing->places[0]));
    for (size_t i = 0; i < set->count && r == BYRE_OK; i++) {
        storing->places[i] = set->items[i]->place;
        if (needs_writing(set->items[i]))
            r = write_bitmap(storing, set->items[i], &storing->places[i], err);
    }
    return r;
}

/* ---- The directory ---- */

/* The set's places become those that were written, and back. */
static void swap_places(struct storing *storing)
{
    struct bitmap_set *set = &storing->qcow2->bitmaps;

    for (size_t i = 0; i < set->count; i++) {
        const struct bitmap_place old = set->items[i]->place;

        set->items[i]->place = storing->places[i];
        storing->places[i] = old;
    }
}

static int write_directory(struct storing *storing, struct byre_error *err)
{
    const struct bitmap_set *set = &storing->qcow2->bitmaps;
    const uint64_t bytes = bitmap_directory_bytes(set);
    const uint64_t padded = align_up(bytes, cluster_bytes(storing));
    uint8_t *buf;
    int r;

    if (set->count == 0)
        return BYRE_OK;
    if (bytes > QCOW2_MAX_BITMAP_DIRECTORY_BYTES)
        return fail(err, BYRE_E_LIMIT,
                    "the bitmap directory would have %llu bytes, more than the "
                    "limit of %llu",
                    (unsigned long long)bytes,
                    (unsigned long long)QCOW2_MAX_BITMAP_DIRECTORY_BYTES);
    buf = calloc(1, (size_t)padded);
    if (buf == NULL)
        return fail_nomem(err, "the bitmap directory", (size_t)padded);
    swap_places(storing);
    bitmap_directory_encode(set, storing->in_use, buf);
    swap_places(storing);
    storing->extension.bitmap_count = (uint32_t)set->count;
    storing->extension.directory_bytes = bytes;
    r = write_table(storing, buf, padded, &storing->extension.directory_offset,
                    err);
    free(buf);
    return r;
}

/* What the file has now, and will not have. */
static int list_released(struct storing *storing, struct byre_error *err)
{
    struct qcow2 *qcow2 = storing->qcow2;
    const struct bitmap_set *set = &qcow2->bitmaps;
    int r = BYRE_OK;

    if (qcow2->has_bitmaps)
        r = bitmap_clusters_add(&storing->released, qcow2,
                                qcow2->bitmaps_extension.directory_offset,
                                qcow2->bitmaps_extension.directory_bytes, err);
    for (size_t i = 0; i < set->dropped_count && r == BYRE_OK; i++)
        r = bitmap_clusters_add_table(&storing->released, qcow2,
                                      &set->dropped[i], err);
    for (size_t i = 0; i < set->count && r == BYRE_OK; i++)
        if (needs_writing(set->items[i]))
            r = bitmap_clusters_add_table(&storing->released, qcow2,
                                          &set->items[i]->place, err);
    return r;
}

static int switch_head(struct storing *storing, struct byre_error *err)
{
    struct qcow2 *qcow2 = storing->qcow2;
    const bool any = storing->extension.bitmap_count > 0;
    struct head head = { 0 };
    uint8_t data[24];
    int r;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    qcow2_bitmaps_extension_encode(&storing->extension, data);
    r = head_set_extension(&head, QCOW2_EXT_BITMAPS, any ? data : NULL,
                           any ? sizeof(data) : 0, err);
    head.header.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    if (any)
        head.header.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
    if (r == BYRE_OK)
        r = head_store(qcow2, &head, err);
    head_done(&head);
    return r;
}

/* The file has it all: so has memory. */
static void settle(struct storing *storing)
{
    struct qcow2 *qcow2 = storing->qcow2;
    struct bitmap_set *set = &qcow2->bitmaps;

    swap_places(storing);
    for (size_t i = 0; i < set->count; i++)
        atomic_store(&set->items[i]->bits.changed, false);
    qcow2->bitmaps_extension = storing->extension;
    qcow2->has_bitmaps = set->count > 0;
    free(set->dropped);
    set->dropped = NULL;
    set->dropped_count = 0;
    set->rearranged = false;
    release_old(storing);
}

static int write_anew(struct storing *storing, struct byre_error *err)
{
    int r;

    r = list_released(storing, err);
    if (r == BYRE_OK)
        r = write_bitmaps(storing, err);
    if (r == BYRE_OK)
        r = write_directory(storing, err);
    if (r == BYRE_OK)
        r = writer_flush(&storing->qcow2->writer, err);
    if (r == BYRE_OK)
        r = switch_head(storing, err);
    if (r < 0)
        return give_back(storing, r);
    settle(storing);
    return BYRE_OK;
}

/* ---- Flags alone ---- */

static int write_flags(struct qcow2 *qcow2, bool in_use, struct byre_error *err)
{
    const size_t bytes = (size_t)qcow2->bitmaps_extension.directory_bytes;
    uint8_t *buf = malloc(bytes);
    int r;

    if (buf == NULL)
        return fail_nomem(err, "the bitmap directory", bytes);
    bitmap_directory_encode(&qcow2->bitmaps, in_use, buf);
    r = store_write(qcow2->store, qcow2->bitmaps_extension.directory_offset,
                    buf, bytes, err);
    free(buf);
    return r < 0 ? r : writer_barrier(&qcow2->writer, err);
}

/* Whether the directory in the file differs in flags at most. */
static bool only_flags_differ(const struct qcow2 *qcow2)
{
    const struct bitmap_set *set = &qcow2->bitmaps;

    if (set->rearranged)
        return false;
    for (size_t i = 0; i < set->count; i++)
        if (needs_writing(set->items[i]))
            return false;
    return !qcow2->has_bitmaps || bitmap_directory_bytes(set) ==
                                      qcow2->bitmaps_extension.directory_bytes;
}

/* ---- The call ---- */

int qcow2_bitmaps_write(struct qcow2 *qcow2, bool in_use,
                        struct byre_error *err)
{
    struct storing storing = { .qcow2 = qcow2, .in_use = in_use };
    struct bitmap_set *set = &qcow2->bitmaps;
    int r;

    r = writer_check(&qcow2->writer, err);
    if (r < 0)
        return r;
    if (!only_flags_differ(qcow2)) {
        r = write_anew(&storing, err);
        offset_list_done(&storing.taken);
        offset_list_done(&storing.released);
        free(storing.places);
        free(storing.buf);
    } else if (set->count > 0 && (set->changed || set->marked != in_use)) {
        r = write_flags(qcow2, in_use, err);
    }
    if (r < 0) {
        error_prefix(err, "the bitmaps could not be stored");
        return r;
    }
    set->changed = false;
    set->marked = in_use;
    return BYRE_OK;
}
