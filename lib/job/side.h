/* SPDX-License-Identifier: MIT */
/*
 * One of the disks that are looked at side by side: what lies at an offset, for
 * offsets that ascend.
 */
#ifndef BYRE_JOB_SIDE_H
#define BYRE_JOB_SIDE_H

#include <stdbool.h>

#include "image/image.h"

#define SIDE_EXTENTS 64

struct side {
    struct byre *image; /* NULL: nothing but zeroes */
    uint64_t size_bytes;
    uint32_t query; /* BYRE_EXTENTS_* */
    struct byre_extent extents[SIDE_EXTENTS];
    size_t extent_count;
    size_t next_extent;
};

/* What lies at an offset of one side; past its end are zeroes. */
struct side_range {
    uint64_t length;
    uint32_t depth; /* of the image that answers; UINT32_MAX past the end */
    bool zero;
    bool allocated;
};

void side_init(struct side *side, struct byre *image, uint32_t query);

int side_find(struct side *side, uint64_t offset, struct side_range *ret,
              struct byre_error *err);

#endif
