/* SPDX-License-Identifier: MIT */
#include "job/side.h"

void side_init(struct side *side, struct byre *image, uint32_t query)
{
    *side = (struct side){
        .image = image,
        .size_bytes = image != NULL ? image->engine->size_bytes : 0,
        .query = query,
    };
}

int side_find(struct side *side, uint64_t offset, struct side_range *ret,
              struct byre_error *err)
{
    const struct byre_extent *extent;
    int r;

    if (offset >= side->size_bytes) {
        *ret = (struct side_range){ UINT64_MAX, UINT32_MAX, true, false };
        return BYRE_OK;
    }

    while (side->next_extent < side->extent_count &&
           offset >= side->extents[side->next_extent].offset +
                         side->extents[side->next_extent].length)
        side->next_extent++;
    if (side->next_extent == side->extent_count) {
        side->next_extent = 0;
        side->extent_count = 0;
        r = byre_extents(side->image, offset, side->size_bytes - offset,
                         side->query, side->extents, SIDE_EXTENTS,
                         &side->extent_count, err);
        if (r < 0)
            return r;
    }

    extent = &side->extents[side->next_extent];
    *ret = (struct side_range){
        .length = extent->offset + extent->length - offset,
        .depth = extent->depth,
        .zero = (extent->flags & BYRE_EXTENT_ZERO) != 0,
        .allocated = (extent->flags & BYRE_EXTENT_ALLOCATED) != 0,
    };
    return BYRE_OK;
}
