/* SPDX-License-Identifier: MIT */
/*
 * What a file that was cut short, or is not there, no longer says.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "image/image.h"

/* Files end in the middle of their last cluster. */
static int find_lost_data(const struct engine *engine,
                          const struct mapping *mapping, uint64_t *length,
                          struct byre_error *err)
{
    uint64_t file_bytes, end;
    int r;

    if (mapping->kind != L2_DATA && mapping->kind != L2_COMPRESSED)
        return BYRE_OK;
    r = store_get_size(mapping->store, &file_bytes, err);
    if (r < 0)
        return r;
    end = engine->cluster_bits != 0
              ? align_up(file_bytes, engine_cluster_bytes(engine))
              : align_up(file_bytes, ENGINE_SECTOR_BYTES);
    if (mapping->host_offset >= end)
        return fail_at(err, BYRE_E_CORRUPT, mapping->host_offset,
                       "its data at %" PRIu64
                       " lies past the end of the file, %" PRIu64,
                       mapping->host_offset, file_bytes);
    if (mapping->kind == L2_DATA)
        *length = min_u64(*length, end - mapping->host_offset);
    return BYRE_OK;
}

/* Of one image; *ret_below tells whether what it stands on is to be asked. */
static int find_loss(const struct byre *img, uint64_t offset, uint64_t *length,
                     bool *ret_below, struct byre_error *err)
{
    struct engine *engine = img->engine;
    struct mapping mapping;
    int r = BYRE_OK;

    *ret_below = false;
    if (engine->ops->find_loss != NULL)
        r = engine->ops->find_loss(engine, offset, *length, length, err);
    if (r == BYRE_OK)
        r = engine->ops->map(engine, offset, *length, &mapping, err);
    if (r < 0)
        return r;
    *length = min_u64(*length, mapping.length);
    *ret_below = mapping.kind == L2_UNALLOCATED || mapping.kind == L2_RESERVED;
    return find_lost_data(engine, &mapping, length, err);
}

static int find_loss_below(struct chain_pass *pass, uint64_t offset,
                           bool shallow, uint64_t *length,
                           struct byre_error *err)
{
    struct byre *img = pass->top;
    bool below;
    int r;

    for (;;) {
        r = find_loss(img, offset, length, &below, err);
        if (r < 0 || !below || shallow)
            return r;
        if (img->backing == NULL && img->engine->backing_name != NULL)
            return fail(err, BYRE_E_CORRUPT,
                        "it is in the backing file '%s', which is missing",
                        img->engine->backing_name);
        img = img->backing;
        if (img == NULL)
            return BYRE_OK;
        chain_enter_next(pass, img);
        if (offset >= img->engine->size_bytes)
            return BYRE_OK;
        *length = min_u64(*length, img->engine->size_bytes - offset);
    }
}

int chain_find_loss(struct byre *img, uint64_t offset, uint64_t length,
                    bool shallow, uint64_t *ret_length, struct byre_error *err)
{
    struct chain_pass pass;
    int r;

    *ret_length = length;
    chain_enter(&pass, img);
    r = check_disk_range(img, offset, length, err);
    if (r == BYRE_OK)
        r = find_loss_below(&pass, offset, shallow, ret_length, err);
    chain_leave(&pass);
    return r;
}
