/* SPDX-License-Identifier: MIT */
/*
 * One bit a cluster, "its count is 1", for a window of host clusters; a file
 * larger than the window takes several walks through the active tree.
 */
#include "qcow2/copied_flags.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/reference_walk.h"
#include "qcow2/stored_counts.h"

/* What is changed together, of one cluster; the bytes around a flag are written
   as they were, so that a torn write does no harm. */
#define MOST_CHUNK_BYTES UINT64_C(65536)
#define SECTOR_BYTES     UINT64_C(512)
#define NO_CHUNK         UINT64_MAX
#define NO_CLUSTER       UINT64_MAX

#define LEAST_WINDOW_BYTES 4096

/* The part of a table that is being changed: sectors [from, to) of it are. */
struct chunk {
    struct byre_store *store;
    uint64_t offset; /* or NO_CHUNK */
    uint64_t bytes;
    uint64_t from;
    uint64_t to;
    uint8_t *data;
};

struct correction {
    struct qcow2 *qcow2;
    const struct copied_flags_ops *ops;
    void *user;

    struct stored_counts stored;
    uint8_t *single; /* a bit a cluster of the window */
    uint64_t window_clusters;
    uint64_t first;
    uint64_t
        next; /* the first cluster behind it with an entry, or NO_CLUSTER */

    struct chunk
        chunks[REFERENCE_LEVELS]; /* of the L1 table, and of L2 tables */
};

/* ---- The window ---- */

/* Takes the counts of block `index` over, as far as they are in the window. */
static void take_block(struct correction *c, uint64_t index)
{
    const uint64_t base = index * c->stored.per_block;
    const uint64_t from = max_u64(base, c->first);
    const uint64_t to =
        min_u64(base + c->stored.per_block, c->first + c->window_clusters);

    for (uint64_t cluster = from; cluster < to; cluster++) {
        const uint64_t bit = cluster - c->first;

        if (stored_counts_get(&c->stored, cluster - base) == 1)
            c->single[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
}

static int load_window(struct correction *c, uint64_t first,
                       struct byre_error *err)
{
    const uint64_t end =
        min_u64(div_round_up(first + c->window_clusters, c->stored.per_block),
                c->stored.table_entries);
    int r;

    c->first = first;
    memset(c->single, 0, (size_t)(c->window_clusters / 8));
    for (uint64_t index = first / c->stored.per_block; index < end; index++) {
        r = stored_counts_load(&c->stored, index, err);
        if (r < 0)
            return r;
        if (c->stored.state == STORED_DAMAGED && c->ops == NULL)
            return fail_at(err, BYRE_E_CORRUPT,
                           c->qcow2->header.refcount_table_offset + index * 8,
                           "refcount table entry %" PRIu64 " is 0x%" PRIx64
                           ", which is no place for a block; run check on the "
                           "image",
                           index, c->stored.raw);
        if (c->stored.state == STORED_BLOCK)
            take_block(c, index);
    }
    return BYRE_OK;
}

/* ---- Flags ---- */

static int chunk_init(struct chunk *chunk, struct qcow2 *qcow2,
                      struct byre_error *err)
{
    *chunk = (struct chunk){
        .store = qcow2->store,
        .offset = NO_CHUNK,
        .bytes = min_u64(qcow2_cluster_bytes(&qcow2->header), MOST_CHUNK_BYTES),
    };
    chunk->data = malloc((size_t)chunk->bytes);
    if (chunk->data == NULL)
        return fail_nomem(err, "a piece of a table", (size_t)chunk->bytes);
    return BYRE_OK;
}

static int chunk_write(struct chunk *chunk, struct byre_error *err)
{
    const uint64_t offset = chunk->offset;

    chunk->offset = NO_CHUNK;
    if (offset == NO_CHUNK)
        return BYRE_OK;
    return store_write(chunk->store, offset + chunk->from,
                       chunk->data + chunk->from,
                       (size_t)(chunk->to - chunk->from), err);
}

/* Entries come in the order of their table, so a chunk is held until the first
   change outside of it. */
static int change_entry(struct chunk *chunk, uint64_t offset, uint64_t raw,
                        struct byre_error *err)
{
    const uint64_t start = align_down(offset, chunk->bytes);
    const uint64_t sector = align_down(offset - start, SECTOR_BYTES);
    int r;

    if (start != chunk->offset) {
        r = chunk_write(chunk, err);
        if (r < 0)
            return r;

        r = store_read(chunk->store, start, chunk->data, (size_t)chunk->bytes,
                       err);
        if (r < 0)
            return r;
        chunk->offset = start;
        chunk->from = sector;
    }
    chunk->to = sector + SECTOR_BYTES;
    be64_put(chunk->data + (offset - start), raw);
    return BYRE_OK;
}

/* Tables that overlap share a chunk. */
static struct chunk *choose_chunk(struct correction *c, bool in_l1,
                                  uint64_t offset)
{
    for (int level = 0; level < REFERENCE_LEVELS; level++) {
        if (c->chunks[level].offset ==
            align_down(offset, c->chunks[level].bytes))
            return &c->chunks[level];
    }
    return &c->chunks[in_l1 ? REFERENCE_OUTER : REFERENCE_INNER];
}

/* Of what lies past the end of the file: each count by itself, once. */
static int decide_far(struct correction *c, const struct reference *ref,
                      bool *ret_copied, struct byre_error *err)
{
    uint64_t count = 0;
    bool known = false;
    int r = BYRE_OK;

    if (c->first == 0)
        r = stored_counts_peek(&c->stored,
                               ref->offset >> c->qcow2->header.cluster_bits,
                               &known, &count, err);
    *ret_copied = count == 1;
    return r < 0 ? r : known;
}

static int decide_by_count(struct correction *c, const struct reference *ref,
                           bool *ret_copied, struct byre_error *err)
{
    const uint32_t beyond = REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;
    const uint32_t nowhere = beyond | REFERENCE_UNALIGNED;
    const uint64_t cluster = ref->offset >> c->qcow2->header.cluster_bits;
    const uint64_t end = c->first + c->window_clusters;

    if (c->ops == NULL && (ref->faults & nowhere) != 0)
        return 0;
    if ((ref->faults & beyond) != 0)
        return decide_far(c, ref, ret_copied, err);
    if (cluster < c->first)
        return 0;
    if (cluster >= end) {
        c->next = min_u64(c->next, cluster);
        return 0;
    }
    *ret_copied =
        (c->single[(cluster - c->first) / 8] >> (cluster - c->first) % 8 & 1) !=
        0;
    return 1;
}

/* What the flag should be; positive if that can be told now. */
static int decide(struct correction *c, const struct reference *ref,
                  bool *ret_copied, struct byre_error *err)
{
    switch (ref->owner) {
    case REFERENCE_L2_TABLE:
    case REFERENCE_DATA:
        return decide_by_count(c, ref, ret_copied, err);
    case REFERENCE_EXTERNAL_DATA:
        *ret_copied = true;
        return 1;
    case REFERENCE_COMPRESSED:
    case REFERENCE_NOTHING:
        *ret_copied = false;
        return 1;
    default: /* no entry with the flag */
        return 0;
    }
}

static int correct_entry(struct correction *c, const struct reference *ref,
                         struct byre_error *err)
{
    const uint64_t entry_bytes =
        ref->in_l1 ? 8 : UINT64_C(8) * c->qcow2->entry_words;
    const uint64_t at = ref->table_offset + ref->index * entry_bytes;
    bool copied = false;
    int r;

    r = decide(c, ref, &copied, err);
    if (r <= 0 || copied == ref->copied)
        return r;
    r = c->ops != NULL ? c->ops->wrong(c->user, ref, err) : 1;
    if (r <= 0)
        return r;
    return change_entry(choose_chunk(c, ref->in_l1, at), at,
                        ref->raw ^ QCOW2_ENTRY_COPIED, err);
}

static int correct(void *user, const struct reference *ref,
                   struct byre_error *err)
{
    struct correction *c = user;
    const int r = correct_entry(c, ref, err);

    if (r < 0 || c->ops == NULL)
        return r < 0 ? r : BYRE_OK;
    return c->ops->leaves_out(c->user, ref, err);
}

static int correct_window(struct correction *c, uint64_t first,
                          struct byre_error *err)
{
    int r;

    r = load_window(c, first, err);
    if (r < 0)
        return r;

    c->next = NO_CLUSTER;
    r = references_walk(c->qcow2, REFERENCES_ACTIVE | REFERENCES_EXTERNAL,
                        correct, c, err);
    for (int level = 0; level < REFERENCE_LEVELS && r == BYRE_OK; level++)
        r = chunk_write(&c->chunks[level], err);
    return r;
}

/* Windows where nothing is are left out. */
static int correct_all(struct correction *c, struct byre_error *err)
{
    int r;

    for (uint64_t first = 0; first != NO_CLUSTER; first = c->next) {
        r = correct_window(c, first, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int correction_init(struct correction *c, struct qcow2 *qcow2,
                           uint64_t budget_bytes, struct byre_error *err)
{
    const uint64_t cluster_bytes = qcow2_cluster_bytes(&qcow2->header);
    uint64_t file_bytes, window_bytes;
    int r;

    r = store_get_size(qcow2->store, &file_bytes, err);
    if (r == BYRE_OK)
        r = chunk_init(&c->chunks[REFERENCE_OUTER], qcow2, err);
    if (r == BYRE_OK)
        r = chunk_init(&c->chunks[REFERENCE_INNER], qcow2, err);
    if (r < 0)
        return r;

    window_bytes = min_u64(max_u64(budget_bytes, LEAST_WINDOW_BYTES),
                           file_bytes / cluster_bytes / 8 + 1);
    c->qcow2 = qcow2;
    c->window_clusters = window_bytes * 8;
    c->single = malloc((size_t)window_bytes);
    if (c->single == NULL)
        return fail_nomem(err, "the correction of flags", (size_t)window_bytes);
    return stored_counts_init(&c->stored, qcow2, err);
}

int copied_flags_walk(struct qcow2 *qcow2, uint64_t budget_bytes,
                      const struct copied_flags_ops *ops, void *user,
                      struct byre_error *err)
{
    struct correction *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return fail_nomem(err, "the correction of flags", sizeof(*c));

    c->ops = ops;
    c->user = user;
    r = correction_init(c, qcow2, budget_bytes, err);
    if (r == BYRE_OK)
        r = correct_all(c, err);
    free(c->chunks[REFERENCE_OUTER].data);
    free(c->chunks[REFERENCE_INNER].data);
    free(c->single);
    stored_counts_done(&c->stored);
    free(c);
    return r;
}

/* ---- Clearing ---- */

struct clearing {
    struct chunk chunk;
    uint64_t entry_bytes;
};

static int clear(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    struct clearing *clearing = user;

    if (ref->owner == REFERENCE_L2_TABLE || !ref->copied)
        return BYRE_OK;
    return change_entry(&clearing->chunk,
                        ref->table_offset + ref->index * clearing->entry_bytes,
                        ref->raw & ~QCOW2_ENTRY_COPIED, err);
}

int copied_flags_clear(struct qcow2 *qcow2, const struct l2_reference *tables,
                       size_t count, struct byre_error *err)
{
    struct clearing clearing = { .entry_bytes =
                                     UINT64_C(8) * qcow2->entry_words };
    int r;

    r = chunk_init(&clearing.chunk, qcow2, err);
    if (r == BYRE_OK)
        r = references_walk_tables(qcow2, tables, count, clear, &clearing, err);
    if (r == BYRE_OK)
        r = chunk_write(&clearing.chunk, err);
    free(clearing.chunk.data);
    return r;
}

int copied_flags_correct(struct qcow2 *qcow2, uint64_t budget_bytes,
                         struct byre_error *err)
{
    return copied_flags_walk(qcow2, budget_bytes, NULL, NULL, err);
}
