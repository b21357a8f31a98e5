/* SPDX-License-Identifier: MIT */
#include "qcow2/create.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "format/entry.h"
#include "format/refcount.h"
#include "qcow2/create_head.h"
#include "qcow2/create_luks.h"

/* All guest clusters are mapped: it was asked for, or the data file is the disk
   and must say so. */
static bool maps_all(const struct byre_create_options *opts)
{
    return opts->preallocation != BYRE_PREALLOCATION_OFF ||
           (opts->flags & BYRE_CREATE_DATA_FILE_RAW) != 0;
}

static int lay_out(struct qcow2_creation *creation, struct byre_error *err)
{
    const struct byre_create_options *opts = creation->opts;
    const struct layout_choice choice = {
        .size_bytes = opts->virtual_size_bytes,
        .cluster_bits = log2_of(opts->cluster_size_bytes),
        .refcount_order = log2_of(opts->refcount_bits),
        .extended_l2 = (opts->flags & BYRE_CREATE_EXTENDED_L2) != 0,
        .tables = maps_all(opts),
        .clusters = maps_all(opts) && !qcow2_create_has_data_file(opts),
        .luks_bytes = creation->luks_bytes,
    };

    return layout_make(&choice, &creation->layout, err);
}

static void set_features(struct qcow2_header *header,
                         const struct byre_create_options *opts)
{
    if (qcow2_create_has_data_file(opts))
        header->incompatible |= QCOW2_INCOMPAT_DATA_FILE;
    if (opts->flags & BYRE_CREATE_EXTENDED_L2)
        header->incompatible |= QCOW2_INCOMPAT_EXTENDED_L2;
    if (opts->flags & BYRE_CREATE_LAZY_REFCOUNTS)
        header->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (opts->flags & BYRE_CREATE_DATA_FILE_RAW)
        header->autoclear |= QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    if (opts->compression_type != NULL &&
        strcmp(opts->compression_type, "zstd") == 0) {
        header->incompatible |= QCOW2_INCOMPAT_COMPRESSION;
        header->compression_type = QCOW2_COMPRESSION_ZSTD;
    }
}

static void set_header(struct qcow2_creation *creation)
{
    static const uint32_t crypt_methods[] = {
        [BYRE_ENCRYPTION_NONE] = QCOW2_CRYPT_NONE,
        [BYRE_ENCRYPTION_AES] = QCOW2_CRYPT_AES,
        [BYRE_ENCRYPTION_LUKS] = QCOW2_CRYPT_LUKS,
    };
    const struct byre_create_options *opts = creation->opts;
    const struct layout *layout = &creation->layout;

    creation->header = (struct qcow2_header){
        .version = opts->version,
        .cluster_bits = layout->cluster_bits,
        .size_bytes = opts->virtual_size_bytes,
        .crypt_method = crypt_methods[opts->encryption],
        .l1_entries = (uint32_t)layout->l1_entries,
        .l1_offset = layout->l1.offset,
        .refcount_table_offset = layout->refcount_table.offset,
        .refcount_table_clusters = (uint32_t)layout->refcount_table.clusters,
        .refcount_order = log2_of(opts->refcount_bits),
        .header_bytes =
            opts->version == 2 ? QCOW2_V2_HEADER_BYTES : QCOW2_HEADER_BYTES,
    };
    set_features(&creation->header, opts);
}

int qcow2_creation_init(struct qcow2_creation *ret_creation,
                        const struct byre_create_options *opts,
                        struct byre_error *err)
{
    struct qcow2_creation creation = { .opts = opts };
    int r;

    r = create_luks_size(opts, &creation.luks_bytes, err);
    if (r == BYRE_OK)
        r = lay_out(&creation, err);
    if (r == BYRE_OK) {
        set_header(&creation);
        r = create_head(&creation, err);
    }
    if (r == BYRE_OK)
        r = create_luks_area(opts, creation.luks_bytes, &creation.luks_area,
                             err);
    if (r < 0) {
        qcow2_creation_done(&creation);
        return r;
    }
    *ret_creation = creation;
    return BYRE_OK;
}

void qcow2_creation_done(struct qcow2_creation *creation)
{
    free(creation->luks_area);
    free(creation->head);
    *creation = (struct qcow2_creation){ 0 };
}

uint64_t qcow2_creation_bytes(const struct qcow2_creation *creation)
{
    return creation->layout.clusters << creation->layout.cluster_bits;
}

/* ---- Writing ---- */

/* The entries of the refcount table and of L1: offsets one cluster apart. */
struct pointers {
    uint64_t first;
    uint64_t step;
};

static uint64_t pointer_word(const void *user, uint64_t index)
{
    const struct pointers *pointers = user;

    return pointers->first + index * pointers->step;
}

static int write_pointers(const struct layout *layout, struct filler *filler,
                          const struct layout_part *at,
                          const struct layout_part *to, uint64_t flags,
                          struct byre_error *err)
{
    const struct pointers pointers = { to->offset | flags,
                                       UINT64_C(1) << layout->cluster_bits };

    return filler_words(filler, at->offset, layout_bytes(layout, at),
                        to->clusters, pointer_word, &pointers, err);
}

static void put_ones(uint8_t *buffer, uint64_t count, uint32_t order)
{
    memset(buffer, 0, FILLER_BUFFER_BYTES);
    for (uint64_t i = 0; i < count; i++)
        refcount_put(buffer, i, order, 1);
}

/* Every cluster is used once, and no block has a gap before the next. */
static int write_counts(const struct qcow2_creation *creation,
                        struct filler *filler, struct byre_error *err)
{
    const struct layout *layout = &creation->layout;
    const uint32_t order = creation->header.refcount_order;
    const uint64_t per_buffer = (uint64_t)FILLER_BUFFER_BYTES * 8 >> order;
    const uint64_t end = layout->refcount_blocks.offset +
                         layout_bytes(layout, &layout->refcount_blocks);
    uint64_t offset = layout->refcount_blocks.offset;
    uint64_t left = layout->clusters;
    int r;

    if (left >= per_buffer)
        put_ones(filler->buffer, per_buffer, order);
    while (left > 0) {
        const uint64_t count = min_u64(left, per_buffer);
        const uint64_t bytes = div_round_up(count << order, 8);

        if (count < per_buffer)
            put_ones(filler->buffer, count, order);
        r = filler_write(filler, offset, filler->buffer, bytes, err);
        if (r < 0)
            return r;
        offset += bytes;
        left -= count;
    }
    return filler_zero(filler, offset, end - offset, err);
}

/* What the L2 tables of a preallocated image say. */
struct mapped_disk {
    struct l2_format format;
    uint64_t first_offset; /* of guest cluster 0 in the file that holds it */
    bool zero;             /* the clusters are not to be read */
    uint64_t bitmap;       /* of extended entries */
};

static uint64_t l2_word(const void *user, uint64_t index)
{
    const struct mapped_disk *disk = user;
    const uint64_t cluster = disk->format.extended ? index / 2 : index;
    struct l2_entry entry = {
        .kind = L2_DATA,
        .host_offset =
            disk->first_offset + (cluster << disk->format.cluster_bits),
    };

    if (disk->format.extended && index % 2 != 0)
        return disk->bitmap;
    if (disk->zero)
        entry.kind = entry.host_offset != 0 ? L2_ZERO_ALLOC : L2_ZERO;
    return l2_entry_encode(&entry, entry.kind != L2_ZERO, &disk->format);
}

/*
 * Whether what the guest clusters hold already is what the disk shall read as.
 * Of an encrypted disk zeroes never are: they decrypt to garbage.
 */
static bool content_is_disk(const struct byre_create_options *opts,
                            const struct filler *filler, bool data_reads_zero)
{
    if (opts->flags & BYRE_CREATE_DATA_FILE_RAW)
        return true;
    if (opts->encryption != BYRE_ENCRYPTION_NONE)
        return false;
    if (qcow2_create_has_data_file(opts))
        return data_reads_zero;
    return filler->reads_zero || opts->version == 2 ||
           opts->preallocation != BYRE_PREALLOCATION_METADATA;
}

/*
 * The L2 tables.  An extended entry whose bitmap is empty has its space, and
 * reads as the backing file or zeroes whatever is there.
 */
static int write_l2_tables(const struct qcow2_creation *creation,
                           struct filler *filler, bool data_reads_zero,
                           struct byre_error *err)
{
    const struct byre_create_options *opts = creation->opts;
    const struct layout *layout = &creation->layout;
    const bool extended = (opts->flags & BYRE_CREATE_EXTENDED_L2) != 0;
    const bool raw = (opts->flags & BYRE_CREATE_DATA_FILE_RAW) != 0;
    const struct mapped_disk disk = {
        .format = { .version = opts->version,
                    .cluster_bits = layout->cluster_bits,
                    .extended = extended,
                    .data_file = qcow2_create_has_data_file(opts) },
        .first_offset = layout->data.offset,
        .zero = !extended && !content_is_disk(opts, filler, data_reads_zero),
        .bitmap = raw ? UINT32_MAX : 0,
    };

    return filler_words(
        filler, layout->l2.offset, layout_bytes(layout, &layout->l2),
        layout->guest_clusters * (extended ? 2 : 1), l2_word, &disk, err);
}

/* The guest clusters.  Only version 2 cannot say that they are not to be read.
 */
static int write_data(const struct qcow2_creation *creation,
                      struct filler *filler, struct byre_error *err)
{
    const struct byre_create_options *opts = creation->opts;
    const struct layout *layout = &creation->layout;
    const uint64_t bytes = layout_bytes(layout, &layout->data);

    if (opts->version == 2 &&
        opts->preallocation == BYRE_PREALLOCATION_METADATA)
        return filler_zero(filler, layout->data.offset, bytes, err);
    return filler_reserve(filler, layout->data.offset, bytes,
                          opts->preallocation, err);
}

static int write_luks(const struct qcow2_creation *creation,
                      struct filler *filler, struct byre_error *err)
{
    const struct layout *layout = &creation->layout;
    const uint64_t end =
        layout->luks.offset + layout_bytes(layout, &layout->luks);
    const uint64_t area_end = layout->luks.offset + creation->luks_bytes;
    int r;

    r = filler_write(filler, layout->luks.offset, creation->luks_area,
                     creation->luks_bytes, err);
    if (r < 0)
        return r;
    return filler_zero(filler, area_end, end - area_end, err);
}

/* Everything behind the first cluster. */
static int write_tables(const struct qcow2_creation *creation,
                        struct filler *filler, bool data_reads_zero,
                        struct byre_error *err)
{
    const struct layout *layout = &creation->layout;
    int r;

    r = write_pointers(layout, filler, &layout->refcount_table,
                       &layout->refcount_blocks, 0, err);
    if (r == BYRE_OK)
        r = write_counts(creation, filler, err);
    if (r == BYRE_OK)
        r = write_pointers(layout, filler, &layout->l1, &layout->l2,
                           QCOW2_ENTRY_COPIED, err);
    if (r == BYRE_OK)
        r = write_luks(creation, filler, err);
    if (r == BYRE_OK && layout->l2.clusters > 0)
        r = write_l2_tables(creation, filler, data_reads_zero, err);
    if (r == BYRE_OK)
        r = write_data(creation, filler, err);
    return r;
}

int qcow2_creation_write(const struct qcow2_creation *creation,
                         struct filler *filler, bool data_reads_zero,
                         struct byre_error *err)
{
    const struct layout *layout = &creation->layout;
    const uint64_t cluster_bytes = UINT64_C(1) << layout->cluster_bits;
    int r;

    r = filler_extend(filler, qcow2_creation_bytes(creation), err);
    if (r == BYRE_OK)
        r = filler_zero(filler, creation->head_bytes,
                        cluster_bytes - creation->head_bytes, err);
    if (r == BYRE_OK)
        r = write_tables(creation, filler, data_reads_zero, err);
    if (r == BYRE_OK)
        r = filler_finish(filler, creation->head, creation->head_bytes, err);
    return r;
}
