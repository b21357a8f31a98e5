/* SPDX-License-Identifier: MIT */
#include "qcow2/stored_counts.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"

int stored_counts_init(struct stored_counts *stored, struct qcow2 *qcow2,
                       struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    const size_t bytes = (size_t)qcow2_cluster_bytes(header);

    *stored = (struct stored_counts){
        .qcow2 = qcow2,
        .per_block =
            refcounts_per_block(header->cluster_bits, header->refcount_order),
        .index = BYRE_NO_OFFSET,
        .piece_first = BYRE_NO_OFFSET,
        .block = malloc(bytes),
    };
    if (stored->block == NULL)
        return fail_nomem(err, "a refcount block", bytes);
    if (qcow2_header_check_refcounts(header, NULL) == BYRE_OK)
        stored->table_entries =
            header->refcount_table_clusters * qcow2_cluster_bytes(header) / 8;
    return BYRE_OK;
}

void stored_counts_done(struct stored_counts *stored)
{
    free(stored->block);
    stored->block = NULL;
}

static int load_entry(struct stored_counts *stored, uint64_t index,
                      uint64_t *ret_raw, struct byre_error *err)
{
    const uint64_t first = index - index % STORED_PIECE_ENTRIES;
    const uint64_t count =
        min_u64(stored->table_entries - first, STORED_PIECE_ENTRIES);
    int r;

    if (first != stored->piece_first) {
        stored->piece_first = BYRE_NO_OFFSET;
        r = store_read(stored->qcow2->store,
                       stored->qcow2->header.refcount_table_offset + first * 8,
                       stored->piece, (size_t)count * 8, err);
        if (r < 0)
            return r;
        stored->piece_first = first;
    }
    *ret_raw = be64_get(stored->piece + (index - first) * 8);
    return BYRE_OK;
}

int stored_counts_peek(struct stored_counts *stored, uint64_t cluster,
                       bool *ret_known, uint64_t *ret_count,
                       struct byre_error *err)
{
    const struct qcow2_header *header = &stored->qcow2->header;
    const uint64_t index = cluster / stored->per_block;
    const uint64_t per_word = UINT64_C(64) >> header->refcount_order;
    const uint64_t place = cluster % stored->per_block;
    uint64_t raw = 0, offset = 0;
    uint8_t word[8] = { 0 };
    int r = BYRE_OK;

    if (index < stored->table_entries)
        r = load_entry(stored, index, &raw, err);
    *ret_known = r == BYRE_OK && refcount_table_entry_decode(
                                     raw, header->cluster_bits, &offset);
    if (*ret_known && offset != 0)
        r = store_read(stored->qcow2->store, offset + place / per_word * 8,
                       word, sizeof(word), err);
    *ret_count = refcount_get(word, place % per_word, header->refcount_order);
    return r;
}

int stored_counts_load(struct stored_counts *stored, uint64_t index,
                       struct byre_error *err)
{
    const uint32_t cluster_bits = stored->qcow2->header.cluster_bits;
    int r;

    if (index == stored->index)
        return BYRE_OK;
    r = stored_counts_save(stored, err);
    if (r < 0)
        return r;

    stored->index = BYRE_NO_OFFSET;
    stored->raw = 0;
    stored->offset = 0;
    if (index < stored->table_entries) {
        r = load_entry(stored, index, &stored->raw, err);
        if (r < 0)
            return r;
    }
    stored->state = STORED_NONE;
    if (!refcount_table_entry_decode(stored->raw, cluster_bits,
                                     &stored->offset))
        stored->state = STORED_DAMAGED;
    else if (stored->offset != 0)
        stored->state = STORED_BLOCK;
    if (stored->state == STORED_BLOCK) {
        r = store_read(stored->qcow2->store, stored->offset, stored->block,
                       (size_t)1 << cluster_bits, err);
        if (r < 0)
            return r;
    }
    stored->index = index;
    return BYRE_OK;
}

int stored_counts_save(struct stored_counts *stored, struct byre_error *err)
{
    if (!stored->changed)
        return BYRE_OK;
    stored->changed = false;
    return store_write(stored->qcow2->store, stored->offset, stored->block,
                       (size_t)qcow2_cluster_bytes(&stored->qcow2->header),
                       err);
}

uint64_t stored_counts_get(const struct stored_counts *stored, uint64_t place)
{
    if (stored->state != STORED_BLOCK)
        return 0;
    return refcount_get(stored->block, place,
                        stored->qcow2->header.refcount_order);
}

void stored_counts_put(struct stored_counts *stored, uint64_t place,
                       uint64_t count)
{
    assert(stored->state == STORED_BLOCK);
    refcount_put(stored->block, place, stored->qcow2->header.refcount_order,
                 count);
    stored->changed = true;
}
