/* SPDX-License-Identifier: MIT */
/*
 * One batch of moves:
 *
 *     counts of the new places, what they hold - barrier - all pointers, each
 *     within a sector - barrier - counts of the old places (settling)
 *
 * A pointer is at any moment to one of two copies.  The new place has all
 * references of the old one counted before any pointer leaves it, so a COPIED
 * flag is as right for the one as for the other.
 */
#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/compact_parts.h"

/* ---- Copies ---- */

static bool is_encrypted_by_place(const struct compact *c,
                                  const struct move *move)
{
    return move->owner == REFERENCE_DATA && c->qcow2->transfer.cipher != NULL &&
           c->qcow2->transfer.iv_is_host;
}

/* The guest offset plays no part where the IV is the host's. */
static int copy_encrypted(struct compact *c, const struct move *move,
                          struct byre_error *err)
{
    const struct qcow2 *qcow2 = c->qcow2;
    const struct mapping mapping = {
        .kind = L2_DATA,
        .length = move->bytes,
        .store = qcow2->store,
        .host_offset = move->from,
    };
    int r;

    r = transfer_read(&qcow2->transfer, &qcow2->engine, &mapping, 0, c->cluster,
                      move->bytes, err);
    if (r < 0)
        return r;
    return transfer_write(&qcow2->transfer, qcow2->store, move->to, 0,
                          c->cluster, move->bytes, err);
}

static int copy(struct compact *c, const struct move *move,
                struct byre_error *err)
{
    int r;

    if (is_encrypted_by_place(c, move))
        return copy_encrypted(c, move, err);
    r = store_read(c->qcow2->store, move->from, c->cluster, move->bytes, err);
    if (r < 0)
        return r;
    return compact_write(c, move->to, c->cluster, move->bytes, err);
}

static int copy_all(struct compact *c, struct byre_error *err)
{
    int r = BYRE_OK;

    for (size_t i = 0; i < c->moves.count && r == BYRE_OK; i++) {
        const struct move *move = &c->moves.list[i];

        if (move->to == 0)
            continue;
        r = compact_advance(c, move->bytes, err);
        if (r == BYRE_OK)
            r = compact_raise(c, move->to, move->bytes, move->refs, err);
    }
    for (size_t i = 0; i < c->moves.count && r == BYRE_OK; i++)
        if (c->moves.list[i].to != 0)
            r = copy(c, &c->moves.list[i], err);
    return r < 0 ? r : compact_barrier(c, err);
}

/* ---- Pointers ---- */

static uint64_t moved_entry(const struct compact *c,
                            const struct reference *ref,
                            const struct move *move)
{
    const struct l2_entry stream = { .kind = L2_COMPRESSED,
                                     .host_offset = move->to,
                                     .compressed_bytes = move->bytes };

    if (ref->owner == REFERENCE_COMPRESSED)
        return l2_entry_encode(&stream, false, &c->qcow2->l2_format);
    return (ref->raw & ~QCOW2_ENTRY_OFFSET_MASK) | move->to;
}

static uint64_t entry_bytes(const struct compact *c, enum reference_owner owner)
{
    return owner == REFERENCE_DATA || owner == REFERENCE_COMPRESSED
               ? UINT64_C(8) * c->qcow2->entry_words
               : 8;
}

static void note_pointer(struct compact *c, const struct reference *ref,
                         uint64_t raw)
{
    if (ref->owner == REFERENCE_L2_TABLE && ref->active)
        l1_note(&c->qcow2->l1, ref->index, raw);
    if (ref->owner == REFERENCE_REFCOUNT_BLOCK)
        c->table[ref->index] = raw & QCOW2_ENTRY_OFFSET_MASK;
}

struct pointing {
    struct compact *c;
    enum compact_part part;
};

static int point(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    const struct pointing *pointing = user;
    struct compact *c = pointing->c;
    const struct move *move =
        ref->bytes > 0 ? compact_moves_find(&c->moves, ref->offset) : NULL;
    const bool leave_out =
        pointing->part == COMPACT_L2_TABLES && ref->owner == REFERENCE_L2_TABLE;
    uint64_t raw;
    int r;

    if (move != NULL && move->to != 0 && move->owner == ref->owner) {
        raw = moved_entry(c, ref, move);
        r = compact_edit(
            c, ref->table_offset + ref->index * entry_bytes(c, ref->owner),
            &raw, 1, err);
        if (r < 0)
            return r;
        note_pointer(c, ref, raw);
    }
    return leave_out ? 1 : BYRE_OK;
}

static uint64_t moved_clusters(const struct compact *c)
{
    uint64_t clusters = 0, stream_bytes = 0;

    for (size_t i = 0; i < c->moves.count; i++) {
        const struct move *move = &c->moves.list[i];

        if (move->to != 0 && move->owner == REFERENCE_COMPRESSED)
            stream_bytes += move->bytes;
        else if (move->to != 0)
            clusters++;
    }
    return clusters + div_round_up(stream_bytes, c->cluster_bytes);
}

int compact_move(struct compact *c, enum compact_part part, bool *ret_any,
                 struct byre_error *err)
{
    struct pointing pointing = { .c = c, .part = part };
    const uint64_t moved = moved_clusters(c);
    int r;

    if (moved == 0)
        return BYRE_OK;
    *ret_any = true;
    r = copy_all(c, err);
    if (r == BYRE_OK)
        r = references_walk(c->qcow2,
                            part == COMPACT_BLOCKS
                                ? REFERENCES_REFCOUNTS
                                : REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS,
                            point, &pointing, err);
    if (r == BYRE_OK)
        r = compact_barrier(c, err);
    if (r < 0)
        return r;
    /* Another stream may come to where one was looked at. */
    cluster_reader_clear(c->qcow2->transfer.clusters);
    c->result.moved_clusters += moved;
    return compact_settle(c, err);
}
