/* SPDX-License-Identifier: MIT */
/*
 * The kinds of images that workloads run on, and one image of a kind on the
 * stores that it consists of.
 */
#ifndef BYRE_TESTS_CRASH_IMAGE_KIND_H
#define BYRE_TESTS_CRASH_IMAGE_KIND_H

#include <stdbool.h>

#include "byre.h"

/* What kinds have beside what byre_create() takes. */
#define KIND_DATA_FILE (1u << 0)
#define KIND_HAND_V1   (1u << 1) /* version 1, 4 KiB clusters over a base */
/* Snapshots: their content is checked too. */
#define KIND_SNAPSHOT (1u << 2)
/* Bitmaps: what they have noted is checked. */
#define KIND_BITMAPS (1u << 4)
#define KIND_MAKES_NO_ZEROES                                                   \
    (1u << 3) /* a discard may leave what was there                            \
               */

/* The base is a qcow2 image, with clusters twice as large, part of them
   compressed; else it is raw. */
#define KIND_BASE_QCOW2 (1u << 8)
/* It may stand on a second base instead, which is never written, or on none:
   the name that it records says it. */
#define KIND_MOVES (1u << 9)

struct image_kind {
    const char *name;
    unsigned flags;         /* KIND_* */
    const char *format;     /* NULL: qcow2 */
    uint32_t version;       /* 1, 2, 3 */
    uint64_t cluster_bytes; /* what the image has */
    uint64_t unit_bytes;    /* what the numbers of scripts count */
    uint64_t disk_units;    /* its disk */
    uint64_t base_bytes;    /* of the disk below it; 0: none */
    uint32_t refcount_bits;
    uint32_t create_flags;
    uint32_t encryption;
    uint32_t preallocation;
    const char *compression_type;
    const char *cipher_alg; /* of LUKS; NULL: the default */
    const char *cipher_mode;
    /* A shell script that makes the image instead, at $I, with qemu-img. */
    const char *recipe;
};

extern const struct image_kind image_kinds[];
extern const size_t image_kind_count;

/* NULL: no such kind. */
const struct image_kind *image_kind_find(const char *name);

static inline uint64_t image_kind_disk(const struct image_kind *kind)
{
    return (kind->unit_bytes * kind->disk_units + 511) & ~UINT64_C(511);
}

/* How many stores an image of the kind consists of; the image is the first. */
size_t image_kind_stores(const struct image_kind *kind);

/* The content of the base, which `kind` has. */
void image_kind_base(const struct image_kind *kind, uint8_t *bytes);

#define IMAGE_BASE_NAME   "base.raw"
#define IMAGE_SECOND_NAME "second.raw"

/* The format of the base. */
const char *image_kind_base_format(const struct image_kind *kind);

/* The content of the second base, as long as the first: partly the same. */
void image_kind_second(const struct image_kind *kind, uint8_t *bytes);

/* The file of the base, which may be an image; to be freed. */
int image_kind_base_file(const struct image_kind *kind, uint8_t **ret_bytes,
                         size_t *ret_length, struct byre_error *err);

/* Makes an image in its stores; not for kinds with a recipe. */
int image_create(const struct image_kind *kind,
                 struct byre_store *const *stores, struct byre_error *err);

/* An open image and what it stands on. */
struct image {
    struct byre *disk;
    struct byre *base;
    struct byre *second; /* of a kind that moves */
};

struct image_options {
    uint32_t flags;       /* BYRE_OPEN_* */
    const char *snapshot; /* or NULL */
    uint64_t cache_bytes; /* of tables and refcounts; 0: the default */
};

int image_open(const struct image_kind *kind, struct byre_store *const *stores,
               const struct image_options *options, struct image *ret_image,
               struct byre_error *err);

/* Closes what is open of it; *image is empty then. */
int image_close(struct image *image, struct byre_error *err);

#define IMAGE_PASSPHRASE "secret"

#endif
