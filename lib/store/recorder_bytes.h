/* SPDX-License-Identifier: MIT */
/*
 * Sparse bytes in memory, in sectors, on top of others that do not change: what
 * a recorder store and each rebuilt crash state consist of.  A state holds the
 * sectors in which it differs, and shares the rest.
 */
#ifndef BYRE_STORE_RECORDER_BYTES_H
#define BYRE_STORE_RECORDER_BYTES_H

#include "store/store.h"

#define SECTOR_BYTES 512u

/* Slots, each with the index of its sector and its bytes; found by hashing. */
struct sector_map {
    uint64_t *indexes;
    uint8_t *bytes;
    size_t count;
    size_t capacity;
    uint32_t *table; /* slot + 1, or 0 */
    size_t table_slots;
};

struct sparse_bytes {
    struct sector_map own;
    const struct sparse_bytes *base; /* or NULL */
    uint64_t base_bytes;             /* beyond, the base is hidden */
    uint64_t length;
};

/* What `base` holds, or nothing if it is NULL.  `base` must outlive it. */
void sparse_init(struct sparse_bytes *sparse, const struct sparse_bytes *base);
void sparse_done(struct sparse_bytes *sparse);

void sparse_read(const struct sparse_bytes *sparse, uint64_t offset, void *buf,
                 size_t length);

/* Writes and grows, all or (out of memory) nothing. */
int sparse_write(struct sparse_bytes *sparse, uint64_t offset, const void *buf,
                 size_t length, struct byre_error *err);

/* Zeroes what there is of the range, all or nothing; does not grow. */
int sparse_zero(struct sparse_bytes *sparse, uint64_t offset, uint64_t length,
                struct byre_error *err);

/*
 * Whether a sector that is discarded reads as zeroes from then on; about half
 * of them do, with no order that a program would know.
 */
bool sparse_discard_zeroes(uint64_t index);

/* Zeroes those sectors of what there is of the range, all or nothing. */
int sparse_discard(struct sparse_bytes *sparse, uint64_t offset,
                   uint64_t length, struct byre_error *err);

/* Sets the length; what is cut off reads as zeroes if it comes back. */
void sparse_resize(struct sparse_bytes *sparse, uint64_t length);

/*
 * A store that changes `sparse` behind a lock, takes over its contents, and
 * leaves it empty.
 */
int sparse_store_new(struct sparse_bytes *sparse, struct byre_store **ret_store,
                     struct byre_error *err);

#endif
