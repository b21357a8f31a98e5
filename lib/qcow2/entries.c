/* SPDX-License-Identifier: MIT */
/*
 * L2 entries as the write path reads and changes them, and the tables they are
 * in.  The caller holds the lock of the guest clusters, so nobody else changes
 * these entries; slices may go and come meanwhile.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/internal.h"

static uint64_t l1_entry_of(const struct qcow2 *qcow2, uint64_t guest_offset)
{
    return l1_get(&qcow2->l1, guest_offset / qcow2_l1_range_bytes(qcow2));
}

bool qcow2_has_table(const struct qcow2 *qcow2, uint64_t guest_offset)
{
    const uint64_t entry = l1_entry_of(qcow2, guest_offset);

    return (entry & QCOW2_ENTRY_COPIED) != 0 &&
           (entry & QCOW2_ENTRY_OFFSET_MASK) != 0;
}

static uint32_t clusters_touched(const struct qcow2 *qcow2,
                                 uint64_t guest_offset, uint64_t length)
{
    const uint32_t bits = qcow2->header.cluster_bits;

    return (uint32_t)(((guest_offset + length - 1) >> bits) -
                      (guest_offset >> bits) + 1);
}

static int decode_l1(const struct qcow2 *qcow2, uint64_t guest_offset,
                     uint64_t *ret_l2_offset, struct byre_error *err)
{
    const uint64_t entry = l1_entry_of(qcow2, guest_offset);

    if (l1_entry_decode(entry, qcow2->header.cluster_bits, ret_l2_offset))
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT,
                "L1 entry 0x%016llx of guest offset %llu does not point to a "
                "multiple of the cluster size",
                (unsigned long long)entry, (unsigned long long)guest_offset);
}

/* Copies entries of a slice that is here; false if it is not. */
static bool copy_entries(struct qcow2 *qcow2, const struct slice_place *place,
                         uint32_t count, struct raw_entry *ret)
{
    struct table_view view;

    do {
        if (!table_cache_find(qcow2->tables, place->host_offset, &view))
            return false;
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t word = (place->index + i) * qcow2->entry_words;

            ret[i].word = table_view_word(&view, word);
            ret[i].bitmap =
                qcow2->entry_words == 2 ? table_view_word(&view, word + 1) : 0;
        }
    } while (!table_view_still_valid(&view));
    return true;
}

int qcow2_entries_read(struct qcow2 *qcow2, uint64_t guest_offset,
                       uint64_t length, struct raw_entry *ret,
                       uint32_t *ret_count, struct byre_error *err)
{
    const uint32_t count = clusters_touched(qcow2, guest_offset, length);
    struct slice_place place;
    uint64_t l2_offset;
    int r;

    r = decode_l1(qcow2, guest_offset, &l2_offset, err);
    if (r < 0)
        return r;

    *ret_count = count;
    for (uint32_t i = 0; l2_offset == 0 && i < count; i++)
        ret[i] = (struct raw_entry){ 0 };
    if (l2_offset == 0)
        return BYRE_OK;

    place = qcow2_slice_place(qcow2, l2_offset, guest_offset);
    assert(place.index + count <= UINT32_C(1) << qcow2->slice_bits);
    while (!copy_entries(qcow2, &place, count, ret)) {
        r = writer_load_slice(&qcow2->writer, place.host_offset, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

int qcow2_entries_write(struct qcow2 *qcow2, uint64_t guest_offset,
                        const struct raw_entry *entries, uint32_t count,
                        struct byre_error *err)
{
    uint64_t words[QCOW2_MOST_ENTRIES], l2_offset = 0;
    const uint32_t step = qcow2->entry_words;
    struct slice_place place;
    int r;

    assert(qcow2_has_table(qcow2, guest_offset) &&
           count * step <= QCOW2_MOST_ENTRIES);
    r = decode_l1(qcow2, guest_offset, &l2_offset, err);
    if (r < 0)
        return r;

    for (uint32_t i = 0; i < count; i++) {
        words[i * step] = entries[i].word;
        if (step == 2)
            words[i * step + 1] = entries[i].bitmap;
    }
    place = qcow2_slice_place(qcow2, l2_offset, guest_offset);
    while (!table_cache_change(qcow2->tables, place.host_offset,
                               place.index * step, words, count * step)) {
        r = writer_load_slice(&qcow2->writer, place.host_offset, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

/*
 * An entry may claim that a table is data: that is not given up on its word,
 * since its space would be emptied.  A stream that is said to be longer than it
 * is may reach into the next cluster, so only its beginning counts.
 */
static int check_released(struct qcow2 *qcow2, uint64_t host_offset,
                          struct byre_error *err)
{
    struct byre_error why = { 0 };
    int r;

    r = metadata_check(&qcow2->metadata, host_offset, 1, NULL);
    if (r < 0)
        fail_at(&why, r, host_offset,
                "an L2 entry takes offset %llu for data, where a structure of "
                "the image is; run check",
                (unsigned long long)host_offset);
    if (r < 0 && err != NULL)
        *err = why;
    return qcow2_mark_corrupt(qcow2, r, &why);
}

int qcow2_release_entry(struct qcow2 *qcow2, struct raw_entry raw,
                        unsigned flags, struct byre_error *err)
{
    const struct l2_entry entry = l2_entry_decode(raw.word, &qcow2->l2_format);
    int r;

    if (entry.kind == L2_INVALID || entry.host_offset == 0 ||
        qcow2->engine.needs_data_file)
        return BYRE_OK;
    r = check_released(qcow2, entry.host_offset, err);
    if (r < 0)
        return r;
    return allocator_release(qcow2->allocator, entry.host_offset,
                             entry.kind == L2_COMPRESSED
                                 ? entry.compressed_bytes
                                 : engine_cluster_bytes(&qcow2->engine),
                             qcow2->keep_space ? 0 : flags, err);
}

/* ---- Tables ---- */

/* The end of a new table; what lies before it in the file is a hole. */
#define TABLE_END_BYTES 512

/*
 * Fills a new table whole before anything points to it: with the shared one's
 * entries, or with zeroes.  Where nothing ever was, writing its end suffices.
 */
static int fill_table(struct qcow2 *qcow2, const struct host_run *run,
                      uint64_t old_offset, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const bool sparse = old_offset == 0 && run->reads_zero;
    const size_t length = sparse ? TABLE_END_BYTES : (size_t)cluster;
    uint8_t *buf = calloc(1, length);
    int r = BYRE_OK;

    if (buf == NULL)
        return fail_nomem(err, "an L2 table", length);

    if (old_offset != 0)
        r = store_read(qcow2->store, old_offset, buf, length, err);
    if (r == BYRE_OK)
        r = store_write(qcow2->store, run->offset + cluster - length, buf,
                        length, err);
    free(buf);
    if (r < 0)
        error_prefix(err, "L2 table");
    return r;
}

/* What is known of the old table: it is the snapshots' alone from now on. */
static int leave_table(struct qcow2 *qcow2, uint64_t old_offset,
                       struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    int r;

    r = metadata_remove(&qcow2->metadata, old_offset, cluster, err);
    if (r < 0)
        return r;
    return allocator_release(qcow2->allocator, old_offset, cluster, 0, err);
}

static int install_table(struct qcow2 *qcow2, uint64_t guest_offset,
                         uint64_t old_offset, const struct host_run *run,
                         struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t index = guest_offset / qcow2_l1_range_bytes(qcow2);
    int r;

    r = fill_table(qcow2, run, old_offset, err);
    if (r < 0)
        return r;

    r = metadata_add(&qcow2->metadata, METADATA_L2, run->offset, cluster,
                     cluster, err);
    if (r < 0)
        return r;

    table_cache_forget(qcow2->tables, run->offset, cluster);
    r = l1_set(&qcow2->l1, index, l1_entry_encode(run->offset, true), err);
    if (r < 0) {
        metadata_remove(&qcow2->metadata, run->offset, cluster, NULL);
        return r;
    }
    return BYRE_OK;
}

static int make_table(struct qcow2 *qcow2, uint64_t guest_offset,
                      struct byre_error *err)
{
    struct host_run run;
    uint64_t old_offset;
    int r;

    r = decode_l1(qcow2, guest_offset, &old_offset, err);
    if (r < 0)
        return r;

    r = allocator_take_all(qcow2->allocator, 1, &run, err);
    if (r < 0)
        return r;

    qcow2_raise_file_end(qcow2,
                         run.offset + engine_cluster_bytes(&qcow2->engine));
    r = install_table(qcow2, guest_offset, old_offset, &run, err);
    if (r < 0) {
        allocator_give_back(qcow2->allocator, run.offset,
                            engine_cluster_bytes(&qcow2->engine), NULL);
        return r;
    }
    return old_offset != 0 ? leave_table(qcow2, old_offset, err) : BYRE_OK;
}

int qcow2_make_table(struct qcow2 *qcow2, uint64_t guest_offset,
                     struct byre_error *err)
{
    const uint64_t range = qcow2_l1_range_bytes(qcow2);
    struct range_lock lock;
    int r = BYRE_OK;

    if (qcow2_has_table(qcow2, guest_offset))
        return BYRE_OK;

    range_lock_take(&qcow2->writer.making, &lock,
                    align_down(guest_offset, range), range, false);
    if (!qcow2_has_table(qcow2, guest_offset))
        r = make_table(qcow2, guest_offset, err);
    range_lock_drop(&qcow2->writer.making, &lock);
    return r;
}
