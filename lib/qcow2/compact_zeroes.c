/* SPDX-License-Identifier: MIT */
/*
 * What takes space and says nothing.  An entry that is changed reads as before:
 * a crash in between leaves a cluster that nobody refers to.
 */
#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/zeroes.h"
#include "format/refcount.h"
#include "qcow2/compact_parts.h"

#define ALL_SUBCLUSTERS ((UINT64_C(1) << QCOW2_SUBCLUSTERS) - 1)

/* ---- Clusters ---- */

static uint64_t entry_place(const struct compact *c,
                            const struct reference *ref)
{
    return ref->table_offset + ref->index * 8 * c->qcow2->entry_words;
}

/* Loads the cluster as the disk reads it. */
static int load_data(struct compact *c, const struct reference *ref,
                     struct byre_error *err)
{
    const struct mapping mapping = {
        .kind = L2_DATA,
        .length = c->cluster_bytes,
        .store = c->qcow2->store,
        .host_offset = ref->offset,
    };

    return transfer_read(&c->qcow2->transfer, &c->qcow2->engine, &mapping,
                         ref->guest_offset, c->cluster,
                         (size_t)c->cluster_bytes, err);
}

/* Whether the subclusters of `bits` are zero. */
static bool bits_are_zero(const struct compact *c, uint64_t bits)
{
    const size_t sub = (size_t)(c->cluster_bytes / QCOW2_SUBCLUSTERS);

    for (uint32_t i = 0; i < QCOW2_SUBCLUSTERS; i++)
        if ((bits >> i & 1) != 0 && !zeroes_only(c->cluster + i * sub, sub))
            return false;
    return true;
}

/* Others who share the cluster may have more subclusters of it: all of them
   give it up, or none. */
static int empty_extended(struct compact *c, const struct reference *ref,
                          struct byre_error *err)
{
    const uint64_t place = entry_place(c, ref);
    uint64_t bitmap, data, words[2] = { 0 };
    uint8_t raw[8];
    int r;

    r = store_read(c->qcow2->store, place + 8, raw, sizeof(raw), err);
    if (r < 0)
        return r;
    bitmap = be64_get(raw);
    data = bitmap & ALL_SUBCLUSTERS;
    if (data != 0 || !ref->copied) {
        r = load_data(c, ref, err);
        if (r < 0)
            return r;
        if (!bits_are_zero(c, ref->copied ? data : ALL_SUBCLUSTERS))
            return BYRE_OK;
    }
    words[1] = (bitmap & ~ALL_SUBCLUSTERS) | data << QCOW2_SUBCLUSTERS;
    return compact_edit(c, place, words, 2, err);
}

static int empty_standard(struct compact *c, const struct reference *ref,
                          struct byre_error *err)
{
    const struct raw_entry zero = qcow2_zero_entry(c->qcow2);
    int r;

    if (ref->kind == L2_DATA) {
        r = load_data(c, ref, err);
        if (r < 0)
            return r;
        if (!zeroes_only(c->cluster, (size_t)c->cluster_bytes))
            return BYRE_OK;
    }
    return compact_edit(c, entry_place(c, ref), &zero.word, 1, err);
}

static int empty_cluster(void *user, const struct reference *ref,
                         struct byre_error *err)
{
    struct compact *c = user;
    int r;

    if (ref->owner != REFERENCE_DATA)
        return BYRE_OK;
    r = compact_advance(c, c->cluster_bytes, err);
    if (r < 0)
        return r;
    return c->qcow2->l2_format.extended ? empty_extended(c, ref, err)
                                        : empty_standard(c, ref, err);
}

int compact_zeroes(struct compact *c, struct byre_error *err)
{
    const bool backed = c->qcow2->writer.backing.read != NULL;
    int r;

    /* Version 2 would look through to the backing file. */
    if (c->qcow2->header.version < 3 && backed)
        return BYRE_OK;
    r = references_walk(c->qcow2, REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS,
                        empty_cluster, c, err);
    return r < 0 ? r : compact_barrier(c, err);
}

/* ---- Tables ---- */

static int empty_table(void *user, const struct reference *ref,
                       struct byre_error *err)
{
    const uint64_t none = 0;
    struct compact *c = user;
    int r;

    if (ref->owner != REFERENCE_L2_TABLE)
        return BYRE_OK;
    r = store_read(c->qcow2->store, ref->offset, c->cluster,
                   (size_t)c->cluster_bytes, err);
    if (r < 0)
        return r;
    if (zeroes_only(c->cluster, (size_t)c->cluster_bytes)) {
        r = compact_edit(c, ref->table_offset + ref->index * 8, &none, 1, err);
        if (r == BYRE_OK && ref->active)
            l1_note(&c->qcow2->l1, ref->index, 0);
    }
    return r < 0 ? r : 1;
}

int compact_empty_tables(struct compact *c, struct byre_error *err)
{
    const int r =
        references_walk(c->qcow2, REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS,
                        empty_table, c, err);

    return r < 0 ? r : compact_barrier(c, err);
}

/* ---- Refcount blocks ---- */

static int block_is_empty(struct compact *c, uint64_t index, bool *ret_empty,
                          struct byre_error *err)
{
    const uint64_t own = c->table[index] >> c->cluster_bits;
    int r;

    r = store_read(c->qcow2->store, c->table[index], c->block,
                   (size_t)c->cluster_bytes, err);
    if (r < 0)
        return r;
    if (own / c->per_block == index)
        refcount_put(c->block, own % c->per_block,
                     c->qcow2->header.refcount_order, 0);
    *ret_empty = zeroes_only(c->block, (size_t)c->cluster_bytes);
    return BYRE_OK;
}

int compact_empty_blocks(struct compact *c, bool *ret_any,
                         struct byre_error *err)
{
    const uint64_t offset = c->qcow2->header.refcount_table_offset;
    const uint64_t none = 0;
    bool any = false;
    int r = BYRE_OK;

    for (uint64_t i = 0; i < c->table_entries && r == BYRE_OK; i++) {
        bool empty = false;

        if (c->table[i] != 0)
            r = block_is_empty(c, i, &empty, err);
        if (r == BYRE_OK && empty)
            r = compact_edit(c, offset + i * 8, &none, 1, err);
        if (r == BYRE_OK && empty)
            c->table[i] = 0;
        any = any || empty;
    }
    if (r == BYRE_OK && any)
        r = compact_barrier(c, err);
    if (r == BYRE_OK && any)
        r = compact_settle(c, err);
    *ret_any = *ret_any || any;
    return r;
}
