/* SPDX-License-Identifier: MIT */
/*
 * Small changes to tables in the store, within a sector each: what is atomic
 * when a write is torn, so that an entry never drags others along.  Changes to
 * one sector in a row are one write.
 */
#ifndef BYRE_QCOW2_SECTOR_EDITS_H
#define BYRE_QCOW2_SECTOR_EDITS_H

#include "store/store.h"

#define EDIT_SECTOR_BYTES UINT64_C(512)
#define EDIT_NO_SECTOR    UINT64_MAX

struct sector_edits {
    struct byre_store *store;
    uint64_t sector; /* the one that is being changed, or EDIT_NO_SECTOR */
    uint8_t bytes[EDIT_SECTOR_BYTES];
};

void sector_edits_init(struct sector_edits *edits, struct byre_store *store);

/* The sector that `offset` is in, to be changed until the next call. */
int sector_edits_at(struct sector_edits *edits, uint64_t offset,
                    uint8_t **ret_bytes, struct byre_error *err);

/* Changes `length` bytes, which lie within one sector. */
int sector_edits_put(struct sector_edits *edits, uint64_t offset,
                     const void *bytes, size_t length, struct byre_error *err);

/* Writes what is not written yet; no barrier. */
int sector_edits_write(struct sector_edits *edits, struct byre_error *err);

#endif
