/* SPDX-License-Identifier: MIT */
/*
 * Drawing states at random where there are too many to list.
 */
#ifndef BYRE_STORE_RECORDER_SAMPLE_H
#define BYRE_STORE_RECORDER_SAMPLE_H

#include "store/recorder_pending.h"

enum sample_kind {
    SAMPLE_NOTHING,     /* only what is durable */
    SAMPLE_EVERYTHING,  /* the newest bytes */
    SAMPLE_PREFIX,      /* all up to an operation, which is torn */
    SAMPLE_ALL_BUT_ONE, /* all, but for an operation that is lost or torn */
    SAMPLE_ALONE,       /* an operation, torn, and nothing else */
    SAMPLE_OPERATIONS,  /* each operation is lost, torn or whole */
    SAMPLE_PARTS,       /* any parts, in any order */
};

/* Which of the pending parts arrive; one choice for all stores of the log. */
struct sample {
    uint64_t key;
    enum sample_kind kind;
    uint64_t pivot;  /* the operation that is torn */
    uint32_t chance; /* of 256, that something arrives */
};

/* The sample `number` of `seed` among the operations [first, cut). */
struct sample sample_draw(uint64_t seed, uint64_t number, uint64_t first,
                          uint64_t cut);

int sample_build(const struct sample *sample, const struct pending *pending,
                 struct sparse_bytes *ret_bytes, struct byre_error *err);

#endif
