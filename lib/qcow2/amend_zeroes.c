/* SPDX-License-Identifier: MIT */
/*
 * Entries with the zero flag, which version 2 does not have, in all trees:
 *
 *     without a cluster   unallocated, where that reads as zeroes; on a backing
 *                         file a cluster of zeroes
 *     with one            a cluster of zeroes: that one, if nobody else refers
 *                         to it; if somebody does, as without
 *
 * Snapshots share tables and clusters, so that what is changed here counts as
 * often as the table around it.  Counting that right at each step is not tried:
 * the image is marked dirty, which makes whoever opens it next count anew, and
 * is counted anew at the end.  Entries change within their sector when the
 * zeroes that they will point to are durable.  Where it ends early, for a
 * failure or a wish, what was not changed yet stays as it was.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/amend_parts.h"
#include "qcow2/header_write.h"
#include "qcow2/references.h"

#define SECTOR_BYTES UINT64_C(512)

/* How many entries are seen from one call of the watcher to the next. */
#define WATCH_EVERY 1024

/* Entries that change behind one barrier. */
#define MOST_CHANGES 4096

struct change {
    uint64_t offset; /* of the entry */
    uint64_t raw;
};

struct zeroing {
    struct amend *amend;
    struct qcow2 *qcow2;
    uint64_t cluster_bytes;
    bool backed;
    uint8_t *zeroes; /* a cluster of them */
    uint64_t seen;
    uint64_t total; /* clusters of the disk */

    /* Of one table, ascending; what they will point to may not be durable. */
    struct change *changes;
    size_t change_count;
    bool needs_barrier;
};

/* ---- Tables ---- */

/* Writes the changes from `first` on that lie in one sector, all at once. */
static int write_sector(struct zeroing *zeroing, size_t first,
                        size_t *ret_count, struct byre_error *err)
{
    const struct change *changes = zeroing->changes + first;
    const uint64_t sector = align_down(changes[0].offset, SECTOR_BYTES);
    struct byre_store *store = zeroing->qcow2->store;
    uint8_t bytes[SECTOR_BYTES];
    size_t n = 0;
    int r;

    r = store_read(store, sector, bytes, sizeof(bytes), err);
    if (r < 0)
        return r;
    while (first + n < zeroing->change_count &&
           changes[n].offset - sector < SECTOR_BYTES) {
        be64_put(bytes + (changes[n].offset - sector), changes[n].raw);
        n++;
    }
    *ret_count = n;
    return store_write(store, sector, bytes, sizeof(bytes), err);
}

static int write_changes(struct zeroing *zeroing, struct byre_error *err)
{
    size_t done = 0, n = 0;
    int r = BYRE_OK;

    if (zeroing->needs_barrier)
        r = writer_barrier(&zeroing->qcow2->writer, err);
    while (r == BYRE_OK && done < zeroing->change_count) {
        r = write_sector(zeroing, done, &n, err);
        done += n;
    }
    zeroing->change_count = 0;
    zeroing->needs_barrier = false;
    return r;
}

static int change_entry(struct zeroing *zeroing, const struct reference *ref,
                        uint64_t raw, struct byre_error *err)
{
    zeroing->changes[zeroing->change_count++] =
        (struct change){ ref->table_offset + ref->index * 8, raw };
    return zeroing->change_count == MOST_CHANGES ? write_changes(zeroing, err)
                                                 : BYRE_OK;
}

/* ---- Clusters ---- */

static int write_zeroes(struct zeroing *zeroing, uint64_t host_offset,
                        uint64_t guest_offset, struct byre_error *err)
{
    zeroing->needs_barrier = true;
    return transfer_write(&zeroing->qcow2->transfer, zeroing->qcow2->store,
                          host_offset, guest_offset, zeroing->zeroes,
                          (size_t)zeroing->cluster_bytes, err);
}

/* A zeroed cluster takes no space where the file has holes. */
static int zero_in_place(struct zeroing *zeroing, const struct reference *ref,
                         struct byre_error *err)
{
    if (zeroing->qcow2->transfer.cipher != NULL)
        return write_zeroes(zeroing, ref->offset, ref->guest_offset, err);
    zeroing->needs_barrier = true;
    return store_zero(zeroing->qcow2->store, ref->offset,
                      zeroing->cluster_bytes, 0, err);
}

static int make_cluster(struct zeroing *zeroing, const struct reference *ref,
                        uint64_t *ret_raw, struct byre_error *err)
{
    struct host_run run;
    int r;

    *ret_raw = 0;
    if (!zeroing->backed)
        return BYRE_OK;
    r = allocator_take(zeroing->qcow2->allocator, 1, &run, err);
    if (r == BYRE_OK)
        r = write_zeroes(zeroing, run.offset, ref->guest_offset, err);
    if (r == BYRE_OK)
        *ret_raw = run.offset;
    return r;
}

static int replace(struct zeroing *zeroing, const struct reference *ref,
                   uint64_t *ret_raw, struct byre_error *err)
{
    uint64_t count = 0;
    int r = BYRE_OK;

    if (ref->kind == L2_ZERO_ALLOC)
        r = allocator_get(zeroing->qcow2->allocator, ref->offset, &count, err);
    if (r < 0)
        return r;
    if (count != 1)
        return make_cluster(zeroing, ref, ret_raw, err);
    *ret_raw = ref->raw & ~QCOW2_ENTRY_ZERO;
    return zero_in_place(zeroing, ref, err);
}

/* ---- The walk ---- */

static int tell_progress(struct zeroing *zeroing, struct byre_error *err)
{
    const struct engine_progress *progress = zeroing->amend->progress;

    if (zeroing->seen++ % WATCH_EVERY != 0 || progress == NULL)
        return BYRE_OK;
    return progress->advance(progress->user,
                             min_u64(zeroing->seen - 1, zeroing->total),
                             zeroing->total, err);
}

static int visit(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    struct zeroing *zeroing = user;
    uint64_t raw = 0;
    int r;

    /* A table that is shared is read once more, with what was changed. */
    if (ref->owner == REFERENCE_L2_TABLE)
        return write_changes(zeroing, err);
    r = tell_progress(zeroing, err);
    if (r < 0 || (ref->kind != L2_ZERO && ref->kind != L2_ZERO_ALLOC))
        return r;
    r = replace(zeroing, ref, &raw, err);
    return r < 0 ? r : change_entry(zeroing, ref, raw, err);
}

static int walk(struct zeroing *zeroing, struct byre_error *err)
{
    int r;

    r = references_walk(zeroing->qcow2,
                        REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS |
                            REFERENCES_ZEROES,
                        visit, zeroing, err);
    return r < 0 ? r : write_changes(zeroing, err);
}

/* ---- The call ---- */

static int mark_dirty(struct amend *amend, struct byre_error *err)
{
    struct qcow2 *qcow2 = amend->qcow2;
    const struct qcow2_header *header = &qcow2->header;
    struct byre_error why = { 0 };
    int r;

    r = header_write_features(qcow2,
                              header->incompatible | QCOW2_INCOMPAT_DIRTY,
                              header->compatible, header->autoclear, &why);
    return header_write_settle(qcow2, r, &why, err);
}

/* Whatever became of it: counted anew the image is whole, and not dirty. */
static int expand(struct zeroing *zeroing, struct byre_error *err)
{
    struct amend quiet = *zeroing->amend;
    struct byre_error why = { 0 };
    int r, counted;

    r = mark_dirty(zeroing->amend, err);
    if (r < 0)
        return r;

    r = walk(zeroing, err);
    quiet.progress = NULL;
    counted = writer_barrier(&zeroing->qcow2->writer, &why);
    if (counted == BYRE_OK)
        counted = amend_rebuild(&quiet, &why);
    if (counted < 0)
        writer_stick(&zeroing->qcow2->writer, &why);
    if (r == BYRE_OK && counted < 0 && err != NULL)
        *err = why;
    return r < 0 ? r : counted;
}

int amend_expand_zeroes(struct amend *amend, struct byre_error *err)
{
    struct qcow2 *qcow2 = amend->qcow2;
    struct zeroing zeroing = {
        .amend = amend,
        .qcow2 = qcow2,
        .cluster_bytes = engine_cluster_bytes(&qcow2->engine),
        .backed = qcow2->header.backing_offset != 0,
    };
    int r;

    zeroing.total =
        div_round_up(qcow2->engine.size_bytes, zeroing.cluster_bytes) + 1;
    zeroing.zeroes = calloc(1, (size_t)zeroing.cluster_bytes);
    zeroing.changes = calloc(MOST_CHANGES, sizeof(*zeroing.changes));
    if (zeroing.zeroes == NULL || zeroing.changes == NULL)
        r = fail_nomem(err, "a cluster and its entries",
                       (size_t)zeroing.cluster_bytes);
    else
        r = expand(&zeroing, err);
    free(zeroing.zeroes);
    free(zeroing.changes);
    return r;
}
