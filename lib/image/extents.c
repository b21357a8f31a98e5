/* SPDX-License-Identifier: MIT */
/*
 * The chain's mappings, told in the words of the public API and joined.
 */
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "image/image.h"

/* Mappings in one answer: joined neighbours must not make it endless. */
#define MOST_STEPS 4096

static uint32_t class_of(enum l2_kind kind)
{
    switch (kind) {
    case L2_UNALLOCATED:
        return BYRE_CLASS_UNALLOCATED;
    case L2_ZERO:
        return BYRE_CLASS_ZERO_PLAIN;
    case L2_ZERO_ALLOC:
        return BYRE_CLASS_ZERO_ALLOCATED;
    case L2_RESERVED:
        return BYRE_CLASS_RESERVED;
    case L2_DATA:
        return BYRE_CLASS_NORMAL;
    case L2_COMPRESSED:
        return BYRE_CLASS_COMPRESSED;
    case L2_INVALID:
        return BYRE_CLASS_INVALID;
    }
    return BYRE_CLASS_INVALID;
}

static uint32_t flags_of(const struct chain_mapping *chain)
{
    const bool encrypted =
        chain->image->engine->encryption != BYRE_ENCRYPTION_NONE;

    switch (chain->mapping.kind) {
    case L2_UNALLOCATED:
    case L2_RESERVED:
        return BYRE_EXTENT_ZERO;
    case L2_ZERO:
    case L2_ZERO_ALLOC:
        return BYRE_EXTENT_ALLOCATED | BYRE_EXTENT_ZERO;
    case L2_DATA:
        return BYRE_EXTENT_ALLOCATED | BYRE_EXTENT_DATA |
               (encrypted ? BYRE_EXTENT_ENCRYPTED : 0);
    case L2_COMPRESSED:
        return BYRE_EXTENT_ALLOCATED | BYRE_EXTENT_DATA |
               BYRE_EXTENT_COMPRESSED;
    case L2_INVALID:
        return BYRE_EXTENT_ALLOCATED;
    }
    return 0;
}

/* The file a mapping points into. */
static const char *file_of(const struct chain_mapping *chain)
{
    const struct byre *img = chain->image;

    if (chain->mapping.store == NULL)
        return NULL;
    return img->data_store != NULL ? img->data_path : img->path;
}

/* An unallocated part of a shallow answer is not known to be zero. */
static void describe(const struct chain_mapping *chain, uint64_t offset,
                     uint32_t query, struct byre_extent *ret)
{
    const struct mapping *mapping = &chain->mapping;
    const bool transformed =
        mapping->kind == L2_COMPRESSED ||
        chain->image->engine->encryption != BYRE_ENCRYPTION_NONE;
    const bool hidden = transformed && (query & BYRE_EXTENTS_CLASSES) == 0;

    *ret = (struct byre_extent){
        .offset = offset,
        .length = mapping->length,
        .host_offset = BYRE_NO_OFFSET,
        .file = hidden ? NULL : file_of(chain),
        .depth = chain->depth,
        .flags = flags_of(chain),
        .cluster_class = class_of(mapping->kind),
    };
    if (mapping->store != NULL && !hidden)
        ret->host_offset = mapping->store->file_offset + mapping->host_offset;
    if ((query & BYRE_EXTENTS_SHALLOW) != 0 && chain->image->backing != NULL &&
        (mapping->kind == L2_UNALLOCATED || mapping->kind == L2_RESERVED))
        ret->flags = 0;
}

/*
 * Data over a hole of the file reads as zeroes.  In a raw file it is nothing
 * but a hole; in an image the cluster is allocated all the same.
 */
static int look_for_hole(const struct chain_mapping *chain,
                         struct byre_extent *extent, struct byre_error *err)
{
    struct engine *engine = chain->image->engine;
    uint64_t length;
    uint32_t kind;
    int r;

    if (chain->mapping.kind != L2_DATA ||
        engine->encryption != BYRE_ENCRYPTION_NONE ||
        !engine->ops->may_have_holes(engine))
        return BYRE_OK;

    r = store_extent(chain->mapping.store, chain->mapping.host_offset,
                     extent->length, &kind, &length, err);
    if (r < 0)
        return r;

    extent->length = length;
    if (kind == BYRE_STORE_HOLE) {
        extent->flags |= BYRE_EXTENT_ZERO;
        if (engine->cluster_bits == 0)
            extent->flags &= ~BYRE_EXTENT_DATA;
    }
    return BYRE_OK;
}

static int next_extent(struct chain_pass *pass, uint64_t offset,
                       uint64_t length, uint32_t query, struct byre_extent *ret,
                       struct byre_error *err)
{
    struct chain_mapping chain;
    int r;

    r = chain_map(pass, offset, length, (query & BYRE_EXTENTS_SHALLOW) != 0,
                  &chain, err);
    if (r < 0)
        return r;
    if (chain.mapping.kind == L2_INVALID && (query & BYRE_EXTENTS_CLASSES) == 0)
        return chain_read(&chain, offset, NULL, 0, err);

    describe(&chain, offset, query, ret);
    return look_for_hole(&chain, ret, err);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Whether `next` only goes on where `last` ends. */
static bool continues(const struct byre_extent *last,
                      const struct byre_extent *next, uint32_t query)
{
    const bool contiguous =
        last->host_offset == BYRE_NO_OFFSET
            ? next->host_offset == BYRE_NO_OFFSET
            : next->host_offset == last->host_offset + last->length;

    if ((query & BYRE_EXTENTS_CLASSES) != 0 &&
        (last->cluster_class != next->cluster_class ||
         last->cluster_class == BYRE_CLASS_COMPRESSED))
        return false;
    return contiguous && last->flags == next->flags &&
           last->depth == next->depth && same_text(last->file, next->file);
}

static int list_extents(struct chain_pass *pass, uint64_t offset,
                        uint64_t length, uint32_t flags,
                        struct byre_extent *ret_extents, size_t capacity,
                        size_t *ret_count, struct byre_error *err)
{
    const uint64_t end = offset + length;
    unsigned steps = 0;
    size_t count = 0;
    int r;

    while (offset < end && steps++ < MOST_STEPS) {
        struct byre_extent next;

        /* What is good before a bad entry is told; the entry itself is the
           first of the next call, and fails there. */
        r = next_extent(pass, offset, end - offset, flags, &next,
                        count == 0 ? err : NULL);
        if (r < 0 && count == 0)
            return r;
        if (r < 0)
            break;

        if (count > 0 && continues(&ret_extents[count - 1], &next, flags))
            ret_extents[count - 1].length += next.length;
        else if (count < capacity)
            ret_extents[count++] = next;
        else
            break;
        offset += next.length;
    }
    *ret_count = count;
    return BYRE_OK;
}

int byre_extents(struct byre *img, uint64_t offset, uint64_t length,
                 uint32_t flags, struct byre_extent *ret_extents,
                 size_t capacity, size_t *ret_count, struct byre_error *err)
{
    struct chain_pass pass;
    int r;

    chain_enter(&pass, img);
    r = check_disk_range(img, offset, length, err);
    if (r == BYRE_OK &&
        (ret_extents == NULL || ret_count == NULL || capacity == 0 ||
         (flags & ~(BYRE_EXTENTS_SHALLOW | BYRE_EXTENTS_CLASSES)) != 0))
        r = fail(err, BYRE_E_INVALID,
                 "extents need room for one, and flags that are known");
    if (r == BYRE_OK)
        r = list_extents(&pass, offset, length, flags, ret_extents, capacity,
                         ret_count, err);
    chain_leave(&pass);
    return r;
}
