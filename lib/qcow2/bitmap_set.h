/* SPDX-License-Identifier: MIT */
/*
 * The persistent bitmaps of an image, in memory: names, flags, and the bits of
 * those that somebody has asked for.
 *
 * While the image is open for writing this is what they are, and the file has
 * them marked in use (bitmap_write.c).  One that was found in use is
 * inconsistent: somebody crashed with it.  It is kept where it is, and can only
 * be removed.
 *
 * What it changes needs the gate closed, but for bits that writers set.
 */
#ifndef BYRE_QCOW2_BITMAP_SET_H
#define BYRE_QCOW2_BITMAP_SET_H

#include "base/dirty_bits.h"
#include "base/offset_list.h"
#include "format/bitmap.h"

struct qcow2;

/* Where the table of a bitmap is in the file; no entries: nowhere. */
struct bitmap_place {
    uint64_t offset;
    uint32_t entries;
};

struct bitmap {
    char *name;
    uint32_t granularity_bits;
    bool enabled;      /* writes set bits */
    bool inconsistent; /* was in use when it was found */
    bool has_bits;     /* the following is filled in */
    struct dirty_bits bits;
    struct bitmap_place place;
};

struct bitmap_set {
    struct bitmap **items; /* in the order of the directory */
    size_t count;
    struct byre_bitmap *published; /* made of them when asked for, or NULL */
    uint64_t held_bytes;           /* memory of bits that were loaded */

    /* Of an image that is open for writing: */
    size_t noting;                /* bitmaps that writers set bits of */
    bool marked;                  /* the file has them in use */
    bool rearranged;              /* bitmaps came or went */
    bool changed;                 /* flags of them did */
    struct bitmap_place *dropped; /* tables to be freed */
    size_t dropped_count;
};

/* ---- The set (bitmap_set.c) ---- */

void bitmap_free(struct bitmap *bitmap);
void bitmap_set_done(struct bitmap_set *set);

/* NULL: none of that name. */
struct bitmap *bitmap_set_find(const struct bitmap_set *set, const char *name);
/* The same; BYRE_E_NOT_FOUND, BYRE_E_STATE for one that is inconsistent. */
int bitmap_set_find_sound(const struct bitmap_set *set, const char *name,
                          struct bitmap **ret_bitmap, struct byre_error *err);

/* Takes over the bitmap; with the list of public entries made anew. */
int bitmap_set_append(struct bitmap_set *set, struct bitmap *bitmap,
                      struct byre_error *err);
/* Takes out and frees the bitmap; its table is to be freed. */
int bitmap_set_remove(struct bitmap_set *set, struct bitmap *bitmap,
                      struct byre_error *err);

/* Counts anew which bitmaps writers set bits of; the list is made anew. */
void bitmap_set_changed(struct bitmap_set *set);

/* Whether writers set bits of it. */
bool bitmap_is_noting(const struct bitmap *bitmap);

int fail_no_bitmap(const char *name, struct byre_error *err);
int fail_inconsistent(const struct bitmap *bitmap, struct byre_error *err);

int bitmap_set_publish(struct bitmap_set *set, const struct byre_bitmap **ret,
                       size_t *ret_count, struct byre_error *err);

/* ---- The directory (bitmap_directory.c) ---- */

int bitmap_directory_load(struct qcow2 *qcow2, struct bitmap_set *ret_set,
                          struct byre_error *err);

/* Bytes of the set's directory, and those bytes; `in_use` marks all. */
uint64_t bitmap_directory_bytes(const struct bitmap_set *set);
void bitmap_directory_encode(const struct bitmap_set *set, bool in_use,
                             uint8_t *buf);

/* The entry of a bitmap as the directory has it. */
struct qcow2_bitmap_entry bitmap_entry(const struct bitmap *bitmap,
                                       bool in_use);

/* ---- Tables and bits (bitmap_table.c) ---- */

/* How many bits a bitmap has on the disk of the image. */
uint64_t bitmap_bit_count(const struct qcow2 *qcow2,
                          const struct bitmap *bitmap);

/* Whether it can be on a disk of that size. */
int bitmap_check_size(const struct qcow2 *qcow2, const char *name,
                      uint64_t disk_bytes, uint32_t granularity_bits,
                      struct byre_error *err);

/* Sets the bits that [offset, offset + length) of the disk touches. */
int bitmap_set_range(struct bitmap *bitmap, uint64_t offset, uint64_t length,
                     struct byre_error *err);

/* Reads the bits, if they are not there yet. */
int bitmap_load_bits(struct qcow2 *qcow2, struct bitmap *bitmap,
                     struct byre_error *err);

/* Adds the clusters that [offset, offset + bytes) touches. */
int bitmap_clusters_add(struct offset_list *list, const struct qcow2 *qcow2,
                        uint64_t offset, uint64_t bytes,
                        struct byre_error *err);
/* Adds those of all bitmaps, and of the directory. */
int bitmap_set_list_clusters(const struct bitmap_set *set, struct qcow2 *qcow2,
                             struct offset_list *list, struct byre_error *err);
/* Adds those of a table and of what it refers to. */
int bitmap_clusters_add_table(struct offset_list *list, struct qcow2 *qcow2,
                              const struct bitmap_place *place,
                              struct byre_error *err);
#endif
