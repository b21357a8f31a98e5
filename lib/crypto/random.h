/* SPDX-License-Identifier: MIT */
/*
 * Random bytes for keys, salts and uuids: the system's.  A source with a seed
 * gives the same bytes each time, for tests; its keys are worth nothing, as
 * anybody can compute them from the seed, or from any eight bytes it gave.
 */
#ifndef BYRE_CRYPTO_RANDOM_H
#define BYRE_CRYPTO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "byre.h"

struct random_source {
    uint64_t seed; /* 0: the system's */
    uint64_t state;
};

void random_source_init(struct random_source *source, uint64_t seed);

/*
 * Fills `buf`.  A seeded source gives what its seed and the calls before this
 * one determine; it is for one thread at a time.
 */
int random_source_fill(struct random_source *source, void *buf, size_t length,
                       struct byre_error *err);

#endif
