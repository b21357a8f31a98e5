/* SPDX-License-Identifier: MIT */
#include "job/walk.h"

#include "base/arith.h"
#include "base/error.h"

/* Zeroes that are written out come in pieces too, so that cancel is heard. */
#define ZERO_PIECE_BYTES (UINT64_C(16) << 20)

void walk_init(struct walk *walk, struct byre *const *sources, size_t count,
               uint64_t total_bytes, const struct walk_rules *rules)
{
    *walk = (struct walk){
        .rules = *rules,
        .sources = sources,
        .source_count = count,
        .total_bytes = total_bytes,
    };
}

/* At least a sector each, but for one at the start of each source. */
size_t walk_most_segments(const struct walk *walk)
{
    return (size_t)(2 * (walk->rules.piece_bytes / ENGINE_SECTOR_BYTES));
}

bool walk_is_over(const struct walk *walk)
{
    return walk->target_offset == walk->total_bytes;
}

/* ---- Extents ---- */

bool walk_is_damage(int status)
{
    return status == BYRE_E_IO || status == BYRE_E_CORRUPT ||
           status == BYRE_E_UNSUPPORTED;
}

static uint64_t source_bytes(const struct walk *walk)
{
    return walk->sources[walk->source]->engine->size_bytes;
}

/* Gives up on the mapping of a piece's worth of a damaged source. */
static void salvage_extent(struct walk *walk, uint64_t length,
                           const struct byre_error *why)
{
    if (walk->rules.salvaged != NULL)
        walk->rules.salvaged(walk->rules.user, walk->target_offset, length,
                             why);
    walk->extents[0] = (struct byre_extent){
        .offset = walk->source_offset,
        .length = length,
        .flags = BYRE_EXTENT_ZERO,
    };
    walk->extent_count = 1;
}

/* Gives up what the files do not have any more: 1; or 0, with how far they
   have it. */
static int find_loss(struct walk *walk, uint64_t *left, struct byre_error *err)
{
    struct byre *source = walk->sources[walk->source];
    uint64_t length = 0;
    int r;

    r = chain_find_loss(source, walk->source_offset, *left, walk->rules.shallow,
                        &length, err);
    if (r == BYRE_E_CORRUPT && length > 0) {
        salvage_extent(walk, length, err);
        return 1;
    }
    if (r == BYRE_OK)
        *left = length;
    return r == BYRE_OK || walk_is_damage(r) ? 0 : r;
}

static int fetch_extents(struct walk *walk, struct byre_error *err)
{
    const struct engine *engine = walk->sources[walk->source]->engine;
    uint64_t left = source_bytes(walk) - walk->source_offset;
    const uint64_t unit = engine->cluster_bits != 0
                              ? engine_cluster_bytes(engine)
                              : ENGINE_SECTOR_BYTES;
    int r;

    walk->next_extent = 0;
    if (walk->rules.salvage) {
        r = find_loss(walk, &left, err);
        if (r != BYRE_OK)
            return r < 0 ? r : BYRE_OK;
    }
    r = byre_extents(walk->sources[walk->source], walk->source_offset, left,
                     walk->rules.shallow ? BYRE_EXTENTS_SHALLOW : 0,
                     walk->extents, WALK_EXTENTS, &walk->extent_count, err);
    if (walk_is_damage(r) && walk->rules.salvage) {
        salvage_extent(walk, min_u64(left, unit - walk->source_offset % unit),
                       err);
        r = BYRE_OK;
    }
    return r;
}

/* Skips to a source with something left; false after the last one. */
static bool find_source(struct walk *walk)
{
    while (walk->source < walk->source_count &&
           walk->source_offset == source_bytes(walk)) {
        walk->source++;
        walk->source_offset = 0;
    }
    return walk->source < walk->source_count;
}

/* Whether what is below holds what the source reads there. */
static bool is_left(const struct walk_rules *rules,
                    const struct byre_extent *extent)
{
    if (rules->left_depth == 0)
        return false;
    if (extent->depth >= rules->left_depth)
        return true;
    return (extent->flags & BYRE_EXTENT_ALLOCATED) == 0 &&
           extent->offset >= rules->left_bytes;
}

/* A shallow answer without a flag: the image itself holds nothing there. */
static enum piece_kind kind_of(const struct walk_rules *rules,
                               const struct byre_extent *extent)
{
    if (is_left(rules, extent))
        return PIECE_LEFT;
    if (extent->flags & BYRE_EXTENT_ZERO)
        return PIECE_ZERO;
    return extent->flags & BYRE_EXTENT_ALLOCATED ? PIECE_DATA : PIECE_LEFT;
}

/* Leaves what the bitmap has not noted; the rest is as the disk reads. */
static int ask_bitmap(const struct walk *walk, struct segment *segment,
                      struct byre_error *err)
{
    uint64_t length;
    uint32_t dirty;
    int r;

    if (walk->rules.bitmap == NULL)
        return BYRE_OK;
    r = byre_bitmap_extent(segment->source, walk->rules.bitmap,
                           segment->source_offset, segment->length, &dirty,
                           &length, err);
    if (r < 0)
        return r;
    segment->length = length;
    if (dirty == 0)
        segment->kind = PIECE_LEFT;
    else if (segment->kind == PIECE_LEFT)
        segment->kind = PIECE_ZERO;
    return BYRE_OK;
}

/* What comes next, up to the end of its extent: 1, or 0 at the end. */
static int peek(struct walk *walk, struct segment *ret, struct byre_error *err)
{
    const struct byre_extent *extent;
    int r;

    if (!find_source(walk))
        return 0;
    if (walk->next_extent == walk->extent_count) {
        r = fetch_extents(walk, err);
        if (r < 0)
            return r;
    }

    extent = &walk->extents[walk->next_extent];
    *ret = (struct segment){
        .source = walk->sources[walk->source],
        .source_offset = walk->source_offset,
        .length = extent->offset + extent->length - walk->source_offset,
        .kind = kind_of(&walk->rules, extent),
    };
    r = ask_bitmap(walk, ret, err);
    return r < 0 ? r : 1;
}

/* Goes on by what lies within the extent that comes next. */
static void go_on(struct walk *walk, uint64_t length)
{
    const struct byre_extent *extent = &walk->extents[walk->next_extent];

    walk->source_offset += length;
    walk->target_offset += length;
    if (walk->source_offset == extent->offset + extent->length)
        walk->next_extent++;
}

/* ---- Pieces ---- */

/* How much of zeroes is a piece of its own, 0: none; one that costs is short.
 */
static uint64_t zero_length(const struct walk *walk, uint64_t length)
{
    const uint64_t offset = walk->target_offset;

    if (offset >= walk->rules.free_from)
        return length;
    if (walk->rules.zeroes_are_data)
        return 0;
    if (offset + length > walk->rules.free_from)
        length =
            align_up(walk->rules.free_from, walk->rules.unit_bytes) - offset;
    return min_u64(length, ZERO_PIECE_BYTES - offset % ZERO_PIECE_BYTES);
}

/* How much of what comes next needs no reading, in whole units. */
static uint64_t unread_length(const struct walk *walk,
                              const struct segment *next)
{
    uint64_t length = next->length;

    if (next->kind == PIECE_DATA ||
        !is_aligned(walk->target_offset, walk->rules.unit_bytes))
        return 0;
    if (next->kind == PIECE_ZERO)
        length = min_u64(length, zero_length(walk, length));
    if (walk->target_offset + length == walk->total_bytes)
        return length;
    return align_down(length, walk->rules.unit_bytes);
}

/*
 * Joins equal neighbours.  What is less than a sector is not worth a segment,
 * and is read with its neighbour.
 */
static void add_segment(struct piece *piece, const struct segment *segment)
{
    struct segment *last = piece->segments + piece->segment_count - 1;

    if (piece->segment_count == 0 || last->source != segment->source ||
        last->source_offset + last->length != segment->source_offset ||
        (last->kind != segment->kind &&
         segment->length >= ENGINE_SECTOR_BYTES)) {
        piece->segments[piece->segment_count++] = *segment;
        return;
    }
    if (last->kind != segment->kind)
        last->kind = PIECE_DATA;
    last->length += segment->length;
}

/* Takes what follows into the piece, up to where it needs no reading. */
static int gather(struct walk *walk, struct piece *piece,
                  struct byre_error *err)
{
    const uint64_t end =
        min_u64(walk->total_bytes,
                align_up(walk->target_offset + 1, walk->rules.piece_bytes));
    struct segment next;
    int r;

    while (walk->target_offset < end) {
        r = peek(walk, &next, err);
        if (r < 0)
            return r;
        if (piece->segment_count > 0 && unread_length(walk, &next) > 0)
            break;
        next.length = min_u64(next.length, end - walk->target_offset);
        add_segment(piece, &next);
        go_on(walk, next.length);
    }
    piece->length = walk->target_offset - piece->target_offset;
    return BYRE_OK;
}

/* With something to be left there is one source only, and no gap in it. */
static void read_whole(struct piece *piece)
{
    bool left = false;

    for (size_t i = 0; i < piece->segment_count; i++)
        left = left || piece->segments[i].kind == PIECE_LEFT;
    if (!left)
        return;
    piece->segments[0].kind = PIECE_DATA;
    piece->segments[0].length = piece->length;
    piece->segment_count = 1;
}

int walk_next(struct walk *walk, struct piece *piece, struct byre_error *err)
{
    struct segment next;
    uint64_t unread;
    int r;

    r = peek(walk, &next, err);
    if (r <= 0)
        return r;

    piece->target_offset = walk->target_offset;
    piece->segment_count = 0;
    unread = unread_length(walk, &next);
    if (unread > 0) {
        piece->kind = next.kind;
        piece->length = unread;
        go_on(walk, unread);
        return 1;
    }

    piece->kind = PIECE_DATA;
    r = gather(walk, piece, err);
    if (r < 0)
        return r;
    if (walk->rules.whole_units)
        read_whole(piece);
    return 1;
}
