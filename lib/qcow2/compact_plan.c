/* SPDX-License-Identifier: MIT */
/*
 * Which clusters go where: what lies at the end into the holes at the front.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/compact_parts.h"

/* ---- The moves of a batch ---- */

int compact_moves_init(struct moves *moves, size_t capacity,
                       struct byre_error *err)
{
    *moves = (struct moves){ .capacity = capacity, .index_bits = 4 };
    while ((size_t)1 << moves->index_bits < capacity * 2)
        moves->index_bits++;
    moves->list = malloc(capacity * sizeof(*moves->list));
    moves->index =
        calloc((size_t)1 << moves->index_bits, sizeof(*moves->index));
    if (moves->list == NULL || moves->index == NULL) {
        compact_moves_done(moves);
        return fail_nomem(err, "a list of clusters to move",
                          capacity * sizeof(*moves->list));
    }
    return BYRE_OK;
}

void compact_moves_done(struct moves *moves)
{
    free(moves->list);
    free(moves->index);
    *moves = (struct moves){ .list = NULL };
}

/* Where `from` is in the index, or would be. */
static uint32_t *find_place(struct moves *moves, uint64_t from)
{
    const size_t mask = ((size_t)1 << moves->index_bits) - 1;
    size_t i = (size_t)(from * UINT64_C(0x9e3779b97f4a7c15) >>
                        (64 - moves->index_bits));

    while (moves->index[i] != 0 &&
           moves->list[moves->index[i] - 1].from != from)
        i = (i + 1) & mask;
    return &moves->index[i];
}

struct move *compact_moves_find(struct moves *moves, uint64_t from)
{
    const uint32_t place = *find_place(moves, from);

    return place != 0 ? &moves->list[place - 1] : NULL;
}

static void add_move(struct moves *moves, struct move move)
{
    uint32_t *place = find_place(moves, move.from);

    if (*place != 0) {
        moves->list[*place - 1].refs++;
        return;
    }
    if (moves->count == moves->capacity)
        return;
    moves->list[moves->count++] = move;
    *place = (uint32_t)moves->count;
}

static void forget_moves(struct moves *moves)
{
    moves->count = 0;
    memset(moves->index, 0,
           ((size_t)1 << moves->index_bits) * sizeof(*moves->index));
}

/* ---- The boundary ---- */

/* Each hole from the front takes what can be moved from the end. */
void compact_bound(struct compact *c)
{
    uint64_t hole = 0, end = min_u64(c->used_end, c->clusters);

    c->boundary = end;
    for (;;) {
        while (hole < end && !compact_is_hole(c, hole))
            hole++;
        while (hole < end && (!compact_bit(c->used, end - 1) ||
                              compact_bit(c->fixed, end - 1)))
            end--;
        if (hole >= end)
            return;
        c->boundary = --end;
        hole++;
    }
}

/* ---- What is to be moved ---- */

struct planning {
    struct compact *c;
    enum compact_part part;
};

static bool is_part(enum compact_part part, enum reference_owner owner)
{
    switch (part) {
    case COMPACT_BLOCKS:
        return owner == REFERENCE_REFCOUNT_BLOCK;
    case COMPACT_L2_TABLES:
        return owner == REFERENCE_L2_TABLE;
    case COMPACT_DATA:
        return owner == REFERENCE_DATA || owner == REFERENCE_COMPRESSED;
    }
    return false;
}

static int collect(void *user, const struct reference *ref,
                   struct byre_error *err)
{
    const struct planning *planning = user;
    struct compact *c = planning->c;
    const uint64_t last = (ref->offset + ref->bytes - 1) >> c->cluster_bits;

    (void)err;
    if (!is_part(planning->part, ref->owner))
        return BYRE_OK;
    if (last >= c->boundary)
        add_move(&c->moves, (struct move){ .from = ref->offset,
                                           .bytes = (uint32_t)ref->bytes,
                                           .refs = 1,
                                           .owner = ref->owner });
    return planning->part == COMPACT_L2_TABLES ? 1 : BYRE_OK;
}

/* ---- How long streams are ---- */

static int compare_places(const void *left, const void *right)
{
    const struct move *a = *(struct move *const *)left;
    const struct move *b = *(struct move *const *)right;

    return a->from < b->from ? -1 : a->from > b->from;
}

/* Whether the stream is whole in its first `bytes`. */
static bool is_whole(struct compact *c, const struct move *move, uint32_t bytes)
{
    const struct compressed_cluster stream = {
        .store = c->qcow2->store,
        .host_offset = move->from,
        .stream_bytes = bytes,
    };

    return cluster_reader_read(c->qcow2->transfer.clusters, &stream, 0,
                               c->cluster, (size_t)c->cluster_bytes,
                               NULL) == BYRE_OK;
}

/* An entry counts sectors; the stream ends where the next one starts. */
static void trim(struct compact *c, struct move *move, const struct move *next)
{
    const uint64_t end = move->from + move->bytes;

    if (next != NULL && next->from < end &&
        next->from + EDIT_SECTOR_BYTES > end &&
        is_whole(c, move, (uint32_t)(next->from - move->from)))
        move->bytes = (uint32_t)(next->from - move->from);
    if (move->bytes > c->cluster_bytes &&
        is_whole(c, move, (uint32_t)c->cluster_bytes))
        move->bytes = (uint32_t)c->cluster_bytes;
}

static int trim_streams(struct compact *c, struct byre_error *err)
{
    const size_t bytes = c->moves.count * sizeof(struct move *);
    struct move **sorted;
    size_t count = 0;

    if (bytes == 0)
        return BYRE_OK;
    sorted = malloc(bytes);
    if (sorted == NULL)
        return fail_nomem(err, "a list of streams", bytes);
    for (size_t i = 0; i < c->moves.count; i++)
        if (c->moves.list[i].owner == REFERENCE_COMPRESSED)
            sorted[count++] = &c->moves.list[i];
    qsort(sorted, count, sizeof(*sorted), compare_places);
    for (size_t i = 0; i < count; i++)
        trim(c, sorted[i], i + 1 < count ? sorted[i + 1] : NULL);
    free(sorted);
    return BYRE_OK;
}

/* ---- Where to ---- */

struct placing {
    uint64_t hole;       /* none is free before it */
    uint64_t fill;       /* of the next stream, inside a cluster; 0: none */
    uint64_t fill_count; /* references of what the cluster holds */
};

static uint64_t next_hole(const struct compact *c, uint64_t hole)
{
    while (hole < c->clusters && !compact_is_hole(c, hole))
        hole++;
    return hole;
}

/* Right behind the last stream, if there is room. */
static bool append_stream(const struct compact *c, struct placing *placing,
                          struct move *move)
{
    const uint64_t end = placing->fill + move->bytes;
    const uint64_t cluster = placing->fill >> c->cluster_bits;
    const bool crosses = end > (cluster + 1) << c->cluster_bits;
    const uint64_t most = refcount_max(c->qcow2->header.refcount_order);

    if (placing->fill == 0 || placing->fill >= move->from ||
        move->refs > most - placing->fill_count ||
        (crosses &&
         (placing->hole != cluster + 1 || placing->hole >= c->boundary)))
        return false;
    move->to = placing->fill;
    placing->fill_count =
        crosses ? move->refs : placing->fill_count + move->refs;
    if (crosses)
        placing->hole = next_hole(c, cluster + 2);
    placing->fill = is_aligned(end, c->cluster_bytes) ? 0 : end;
    return true;
}

static void place(const struct compact *c, struct placing *placing,
                  struct move *move)
{
    const bool stream = move->owner == REFERENCE_COMPRESSED;

    if (stream && append_stream(c, placing, move))
        return;
    if (placing->hole >= c->boundary || move->bytes > c->cluster_bytes ||
        placing->hole >= move->from >> c->cluster_bits)
        return; /* there is none before it */
    move->to = placing->hole << c->cluster_bits;
    placing->hole = next_hole(c, placing->hole + 1);
    if (stream) {
        placing->fill =
            move->bytes < c->cluster_bytes ? move->to + move->bytes : 0;
        placing->fill_count = move->refs;
    }
}

int compact_plan(struct compact *c, enum compact_part part,
                 struct byre_error *err)
{
    struct planning planning = { .c = c, .part = part };
    struct placing placing = { .hole = next_hole(c, 0) };
    int r;

    forget_moves(&c->moves);
    compact_bound(c);
    r = references_walk(c->qcow2,
                        part == COMPACT_BLOCKS
                            ? REFERENCES_REFCOUNTS
                            : REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS,
                        collect, &planning, err);
    if (r == BYRE_OK)
        r = trim_streams(c, err);
    for (size_t i = 0; i < c->moves.count && r == BYRE_OK; i++)
        place(c, &placing, &c->moves.list[i]);
    return r;
}
