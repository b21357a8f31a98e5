/* SPDX-License-Identifier: MIT */
/*
 * A store for hostile images: bytes in memory that can neither grow nor be used
 * without end, and that stop the program when a write lands where none may.
 */
#ifndef BYRE_FUZZ_CHECKED_STORE_H
#define BYRE_FUZZ_CHECKED_STORE_H

#include <stdbool.h>

#include "fuzz.h"

#define CHECKED_MAX_BYTES  ((size_t)8 << 20)
#define CHECKED_MAX_CALLS  40000
#define CHECKED_MAX_RANGES 4

/* Offsets in the store, half-open. */
struct checked_range {
    uint64_t start;
    uint64_t end;
};

struct checked_store {
    uint8_t *bytes;
    size_t length;
    size_t capacity;
    /* Calls that change the store: the one that fails, 0 for none; how many
       there were. */
    uint32_t failing_change;
    uint32_t changes;
    uint32_t calls_left;
    bool failed; /* a call failed: room, calls, or as it was told to */
    /* Bytes that must stay as they are. */
    struct checked_range kept[CHECKED_MAX_RANGES];
    size_t kept_count;
};

/* Starts with a copy of the bytes, of exactly their length. */
void checked_store_init(struct checked_store *checked, const uint8_t *data,
                        size_t length);
void checked_store_done(struct checked_store *checked);

/* No write may land in the range, not even one of the same bytes. */
void checked_store_keep(struct checked_store *checked, uint64_t start,
                        uint64_t end);

/* From here on nothing fails that need not. */
void checked_store_heal(struct checked_store *checked);

/* A store of the library on it; without `sparse` it cannot zero or discard. */
struct byre_store *checked_store_new(struct checked_store *checked,
                                     bool sparse);

#endif
