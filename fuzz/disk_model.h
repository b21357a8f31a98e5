/* SPDX-License-Identifier: MIT */
/*
 * What the start of a disk must hold, as far as it is known.  What lies past
 * the window is nowhere recorded, and nowhere compared.
 */
#ifndef BYRE_FUZZ_DISK_MODEL_H
#define BYRE_FUZZ_DISK_MODEL_H

#include <stdbool.h>

#include "fuzz.h"

#define WINDOW_BYTES ((size_t)64 << 10)

struct disk_model {
    uint8_t *bytes;
    uint8_t *known; /* one a byte: 0 or 1 */
};

/* Starts knowing nothing. */
void model_init(struct disk_model *model);
void model_done(struct disk_model *model);

/* How much of a range is in the window: its start, or nothing. */
size_t model_clip(uint64_t offset, uint64_t length);

void model_forget(struct disk_model *model, uint64_t offset, uint64_t length);

/* Zeroes if `bytes` is NULL. */
void model_set(struct disk_model *model, uint64_t offset, uint64_t length,
               const uint8_t *bytes);

bool model_knows(const struct disk_model *model, uint64_t offset,
                 size_t length);

/* Stops the program if what was read is not what must be there. */
void model_compare(const struct disk_model *model, uint64_t offset,
                   const uint8_t *bytes, size_t length);

/* The same after a discard: zero, or as it was. */
void model_compare_discarded(const struct disk_model *model, uint64_t offset,
                             const uint8_t *bytes, size_t length);

#endif
