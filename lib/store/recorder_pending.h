/* SPDX-License-Identifier: MIT */
/*
 * What is pending of one store at a cut, by the model of recorder.h: its
 * durable bytes, the parts of each sector, and the lengths it may have.
 */
#ifndef BYRE_STORE_RECORDER_PENDING_H
#define BYRE_STORE_RECORDER_PENDING_H

#include "store/recorder_bytes.h"
#include "store/recorder_log.h"

/* What one operation does to one sector. */
struct pending_part {
    uint64_t sector;
    uint64_t operation;   /* its index in the log */
    const uint8_t *bytes; /* NULL: zeroes */
    uint32_t from;        /* in the sector */
    uint32_t length;
    bool is_optional; /* of a discard, and the newest bytes are without it */
};

struct pending_sector {
    uint64_t index;
    const struct pending_part *parts; /* in the order of the log */
    size_t part_count;
    /* All that the sector may hold, no two alike, if they were listed. */
    uint8_t *alternatives;
    size_t alternative_count;
};

/* A length that an operation gives the store. */
struct pending_length {
    uint64_t bytes;
    uint64_t operation;
};

struct pending {
    struct recorder *recorder;
    struct sparse_bytes durable;
    uint64_t durable_operations; /* of the log are in `durable` */

    struct pending_part *parts; /* by sector, then by operation */
    size_t part_count, part_capacity;
    struct pending_sector *sectors; /* ascending */
    size_t sector_count;
    struct pending_length *lengths; /* in the order of the log */
    size_t length_count, length_capacity;
    uint64_t *distinct_lengths; /* ascending, with the durable one */
    size_t distinct_length_count;

    /* States of this store, no two alike; 0: more than the limit, and then the
       alternatives are not all listed. */
    uint64_t state_count;
};

void pending_init(struct pending *pending, struct recorder *recorder);
void pending_done(struct pending *pending);

/* Goes to `cut`; stores on top of `pending->durable` must be gone. */
int pending_seek(struct pending *pending, uint64_t cut, uint64_t limit,
                 struct byre_error *err);

void part_apply(const struct pending_part *part, uint8_t *sector);

/* Builds the state `number`, less than the count of states, in `ret_bytes`. */
int pending_build(const struct pending *pending, uint64_t number,
                  struct sparse_bytes *ret_bytes, struct byre_error *err);

#endif
