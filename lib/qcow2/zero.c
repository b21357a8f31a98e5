/* SPDX-License-Identifier: MIT */
/*
 * Zeroing and discarding by changing entries alone.
 *
 *                        zero             zero, may unmap    discard
 *   unallocated          zero if backed   zero if backed     zero if backed
 *   zero                 stays            stays              stays
 *   zero, space reserved stays            zero, freed        zero, freed
 *   data of its own      zero, reserved   zero, freed        zero, freed
 *   other data           zero, freed      zero, freed        zero, freed
 *
 * "Zero" is what version 3 has an entry for; version 2 says "unallocated", if
 * there is no backing file to look through to, or has zeroes written (zero) or
 * leaves it (discard).  What is smaller than a cluster, or a subcluster, is
 * zeroed by writing, but where all the rest of it is zero already.
 */
#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/internal.h"

/* How entries are to become zero. */
struct zeroing {
    bool may_unmap;
    bool fast;        /* nothing may be written instead */
    unsigned release; /* ALLOCATOR_* */
};

static bool is_backed(const struct qcow2 *qcow2)
{
    return qcow2->writer.backing.read != NULL;
}

static uint64_t unit_bytes(const struct qcow2 *qcow2)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);

    return qcow2->l2_format.extended ? cluster / QCOW2_SUBCLUSTERS : cluster;
}

/* Whether entries can be made zero at all. */
static bool has_zero_entries(const struct qcow2 *qcow2)
{
    return qcow2->header.version >= 3 || !is_backed(qcow2);
}

/* ---- One entry ---- */

#define ALL_SUBCLUSTERS ((UINT64_C(1) << QCOW2_SUBCLUSTERS) - 1)

/* The entry of a whole cluster that is zero and holds nothing. */
struct raw_entry qcow2_zero_entry(const struct qcow2 *qcow2)
{
    const struct l2_entry entry = { .kind = L2_ZERO };

    if (qcow2->header.version < 3)
        return (struct raw_entry){ 0 };
    return (struct raw_entry){
        .word = l2_entry_encode(&entry, false, &qcow2->l2_format),
        .bitmap = qcow2->l2_format.extended
                      ? ALL_SUBCLUSTERS << QCOW2_SUBCLUSTERS
                      : 0,
    };
}

/* Without subclusters; true if the old entry is to be released. */
static bool zero_standard(const struct qcow2 *qcow2, const struct piece *piece,
                          bool owns_table, const struct zeroing *zeroing,
                          struct raw_entry *raw)
{
    const bool may_keep = owns_table && piece->copied && !zeroing->may_unmap &&
                          qcow2->header.version >= 3;

    switch (piece->kind) {
    case L2_UNALLOCATED:
        if (is_backed(qcow2))
            *raw = qcow2_zero_entry(qcow2);
        return false;
    case L2_ZERO:
        return false;
    case L2_ZERO_ALLOC:
        if (may_keep)
            return false;
        break;
    case L2_DATA:
        if (may_keep) {
            raw->word |= QCOW2_ENTRY_ZERO;
            return false;
        }
        break;
    case L2_COMPRESSED:
    case L2_RESERVED:
    case L2_INVALID:
        break;
    }
    *raw = qcow2_zero_entry(qcow2);
    return true;
}

/* With subclusters, those of `bits`; true if the old entry is to be released.
 */
static bool zero_extended(const struct qcow2 *qcow2, uint64_t bits,
                          bool owns_table, const struct zeroing *zeroing,
                          struct raw_entry *raw)
{
    const bool has_host = (raw->word & QCOW2_ENTRY_OFFSET_MASK) != 0 ||
                          (raw->word & QCOW2_ENTRY_COPIED) != 0;
    const bool owned = owns_table && (raw->word & QCOW2_ENTRY_COPIED) != 0;
    const bool compressed = (raw->word & QCOW2_ENTRY_COMPRESSED) != 0;

    if (bits == ALL_SUBCLUSTERS &&
        (compressed || (has_host && (zeroing->may_unmap || !owned)))) {
        *raw = qcow2_zero_entry(qcow2);
        return true;
    }
    if (!has_host && raw->bitmap == 0 && !is_backed(qcow2))
        return false;
    raw->bitmap = (raw->bitmap & ~bits) | bits << QCOW2_SUBCLUSTERS;
    return false;
}

/* Subclusters of the cluster at `cluster_start` in [offset, offset + length).
 */
static uint64_t bits_of(const struct qcow2 *qcow2, uint64_t cluster_start,
                        uint64_t offset, uint64_t length)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t sub = cluster / QCOW2_SUBCLUSTERS;
    const uint64_t from = max_u64(offset, cluster_start) - cluster_start;
    const uint64_t to =
        min_u64(offset + length, cluster_start + cluster) - cluster_start;
    const uint64_t first = from / sub, end = div_round_up(to, sub);

    return ((UINT64_C(1) << (end - first)) - 1) << first;
}

/* ---- Entries of one slice ---- */

/* Fails before anything is changed. */
static int check_entries(struct qcow2 *qcow2, uint64_t start,
                         const struct raw_entry *entries, uint32_t count,
                         struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);

    for (uint32_t i = 0; i < count; i++) {
        const uint64_t at = start + i * cluster;
        int r;

        if (qcow2_decode_piece(qcow2, entries[i], at).kind != L2_INVALID)
            continue;
        r = fail(err, BYRE_E_CORRUPT,
                 "L2 entry 0x%016llx of guest offset %llu cannot be; run check",
                 (unsigned long long)entries[i].word, (unsigned long long)at);
        return qcow2_mark_corrupt(qcow2, r, err);
    }
    return BYRE_OK;
}

/* The entries are changed: what goes wrong but for lies loses space only. */
static int release_entries(struct qcow2 *qcow2, const struct raw_entry *entries,
                           const bool *release, uint32_t count, unsigned flags,
                           struct byre_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        if (release[i] && qcow2_release_entry(qcow2, entries[i], flags, err) ==
                              BYRE_E_CORRUPT)
            return BYRE_E_CORRUPT;
    }
    return BYRE_OK;
}

/*
 * Makes the entries of [offset, offset + length) zero, whole units of one
 * slice, whose clusters are locked.
 */
static int zero_entries(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                        const struct zeroing *zeroing, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t start = align_down(offset, cluster);
    const bool owns_table = qcow2_has_table(qcow2, offset);
    struct raw_entry old[QCOW2_MOST_ENTRIES], zeroed[QCOW2_MOST_ENTRIES];
    bool release[QCOW2_MOST_ENTRIES];
    bool changes = false;
    uint32_t count;
    int r;

    r = qcow2_entries_read(qcow2, offset, length, old, &count, err);
    if (r == BYRE_OK)
        r = check_entries(qcow2, start, old, count, err);
    if (r < 0)
        return r;

    for (uint32_t i = 0; i < count; i++) {
        const uint64_t at = start + i * cluster;
        const struct piece piece = qcow2_decode_piece(qcow2, old[i], at);

        zeroed[i] = old[i];
        release[i] =
            qcow2->l2_format.extended
                ? zero_extended(qcow2, bits_of(qcow2, at, offset, length),
                                owns_table, zeroing, &zeroed[i])
                : zero_standard(qcow2, &piece, owns_table, zeroing, &zeroed[i]);
        changes = changes || zeroed[i].word != old[i].word ||
                  zeroed[i].bitmap != old[i].bitmap;
    }
    if (!changes)
        return BYRE_OK;

    r = qcow2_make_table(qcow2, offset, err);
    if (r == BYRE_OK)
        r = qcow2_entries_write(qcow2, offset, zeroed, count, err);
    if (r < 0)
        return r;
    return release_entries(qcow2, old, release, count, zeroing->release, err);
}

/*
 * The raw data file reads as the disk by itself: it gets the zeroes first.  A
 * crash between the two leaves a part of what was to be zeroed zero.  In an
 * encrypted one zeroes would read as garbage until the entries are durable, and
 * it is not the disk by itself: it is left alone.
 */
static int zero_data_file(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                          const struct zeroing *zeroing, struct byre_error *err)
{
    const bool raw =
        (qcow2->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0;
    const bool unmap = zeroing->may_unmap && !qcow2->keep_space;

    if (!qcow2->engine.needs_data_file || (!raw && !unmap) ||
        qcow2->transfer.cipher != NULL)
        return BYRE_OK;
    return (zeroing->fast ? store_zero_fast
                          : store_zero)(qcow2->data_store, offset, length,
                                        unmap ? BYRE_STORE_MAY_UNMAP : 0, err);
}

/* Where nothing is allocated and nothing lies below, all is zero already. */
static uint64_t untouched_bytes(const struct qcow2 *qcow2, uint64_t offset,
                                uint64_t length)
{
    const uint64_t range = qcow2_l1_range_bytes(qcow2);

    if (is_backed(qcow2) || l1_get(&qcow2->l1, offset / range) != 0)
        return 0;
    return min_u64(length, range - offset % range);
}

/* How much of a range of whole units is of whole clusters, or of one. */
static uint64_t step_bytes(const struct qcow2 *qcow2, uint64_t offset,
                           uint64_t length)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t slice = qcow2_slice_range_bytes(qcow2);

    if (offset % cluster != 0 || length < cluster)
        return min_u64(length, cluster - offset % cluster);
    return min_u64(align_down(length, cluster), slice - offset % slice);
}

/* A stream has no subclusters: part of it is zeroed by writing. */
#define NEEDS_DATA 1

static int zero_locked(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                       const struct zeroing *zeroing, struct byre_error *err)
{
    const uint64_t on_disk = min_u64(length, qcow2->engine.size_bytes - offset);
    struct raw_entry first;
    uint32_t count;
    int r;

    if (length < engine_cluster_bytes(&qcow2->engine)) {
        r = qcow2_entries_read(qcow2, offset, 1, &first, &count, err);
        if (r < 0)
            return r;
        if ((first.word & QCOW2_ENTRY_COMPRESSED) != 0)
            return NEEDS_DATA;
    }
    r = zero_data_file(qcow2, offset, on_disk, zeroing, err);
    return r < 0 ? r : zero_entries(qcow2, offset, length, zeroing, err);
}

static int zero_step(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                     uint32_t flags, const struct zeroing *zeroing,
                     struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t start = align_down(offset, cluster);
    struct range_lock lock;
    int r;

    range_lock_take(&qcow2->writer.clusters, &lock, start,
                    align_up(offset + length, cluster) - start, false);
    r = zero_locked(qcow2, offset, length, zeroing, err);
    range_lock_drop(&qcow2->writer.clusters, &lock);
    if (r != NEEDS_DATA)
        return r;
    return writer_write_zeroes(
        &qcow2->writer, offset,
        min_u64(length, qcow2->engine.size_bytes - offset), flags, err);
}

/* Zeroes whole units. */
static int zero_units(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                      uint32_t flags, const struct zeroing *zeroing,
                      struct byre_error *err)
{
    while (length > 0) {
        const uint64_t skip = untouched_bytes(qcow2, offset, length);
        const uint64_t n = skip > 0 ? skip : step_bytes(qcow2, offset, length);
        int r = BYRE_OK;

        if (skip == 0)
            r = zero_step(qcow2, offset, n, flags, zeroing, err);
        if (r < 0)
            return r;
        offset += n;
        length -= n;
    }
    return BYRE_OK;
}

/* ---- Parts of units ---- */

/* Whether a unit reads as zero outside [offset, offset + length) of it. */
static int rest_is_zero(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                        bool *ret_zero, struct byre_error *err)
{
    const uint64_t unit = unit_bytes(qcow2);
    const uint64_t disk_end = qcow2->engine.size_bytes;
    uint64_t at = align_down(offset, unit);
    const uint64_t end = min_u64(at + unit, disk_end);

    *ret_zero = true;
    while (at < end && *ret_zero) {
        uint64_t n = (at < offset ? offset : end) - at;
        int r;

        if (at == offset) {
            at += length;
            continue;
        }
        r = writer_is_zero(&qcow2->writer, at, n, ret_zero, &n, err);
        if (r < 0)
            return r;
        at += n;
    }
    return BYRE_OK;
}

/* With the cluster locked: makes the whole unit zero if its rest is so. */
static int zero_rest(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                     const struct zeroing *zeroing, bool *ret_done,
                     struct byre_error *err)
{
    const uint64_t unit = unit_bytes(qcow2);
    struct raw_entry raw;
    uint32_t count;
    int r;

    *ret_done = false;
    r = qcow2_entries_read(qcow2, offset, 1, &raw, &count, err);
    if (r < 0 || (raw.word & QCOW2_ENTRY_COMPRESSED) != 0 ||
        qcow2_decode_piece(qcow2, raw, offset).kind == L2_DATA)
        return r;

    r = rest_is_zero(qcow2, offset, length, ret_done, err);
    if (r < 0 || !*ret_done)
        return r;
    return zero_entries(qcow2, align_down(offset, unit), unit, zeroing, err);
}

static int zero_part(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                     uint32_t flags, const struct zeroing *zeroing,
                     struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    struct range_lock lock;
    bool done = false;
    int r = BYRE_OK;

    if (length == 0)
        return BYRE_OK;
    if (has_zero_entries(qcow2) && !qcow2->engine.needs_data_file) {
        range_lock_take(&qcow2->writer.clusters, &lock,
                        align_down(offset, cluster), cluster, false);
        r = zero_rest(qcow2, offset, length, zeroing, &done, err);
        range_lock_drop(&qcow2->writer.clusters, &lock);
    }
    if (r < 0 || done)
        return r;
    return writer_write_zeroes(&qcow2->writer, offset, length, flags, err);
}

/* ---- The calls ---- */

int qcow2_make_zero(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                    uint32_t flags, struct byre_error *err)
{
    const bool unmap =
        (flags & BYRE_WRITE_MAY_UNMAP) != 0 && !qcow2->keep_clusters;
    const struct zeroing zeroing = {
        .may_unmap = unmap,
        .fast = (flags & BYRE_WRITE_FAST_ZERO) != 0,
        .release = unmap ? ALLOCATOR_PUNCH : 0,
    };
    const uint64_t unit = unit_bytes(qcow2);
    const uint64_t end = offset + length;
    /* The last unit of the disk counts as whole. */
    const uint64_t last = end == qcow2->engine.size_bytes
                              ? align_up(end, unit)
                              : align_down(end, unit);
    const uint64_t first = align_up(offset, unit);
    int r;

    r = writer_check(&qcow2->writer, err);
    if (r < 0)
        return r;
    if (qcow2->keep_space || qcow2->keep_clusters)
        flags &= ~BYRE_WRITE_MAY_UNMAP;
    if (!has_zero_entries(qcow2))
        return writer_write_zeroes(&qcow2->writer, offset, length, flags, err);
    if (first > last) /* within one unit */
        return zero_part(qcow2, offset, length, flags, &zeroing, err);

    r = zero_part(qcow2, offset, min_u64(first, end) - offset, flags, &zeroing,
                  err);
    if (r == BYRE_OK)
        r = zero_units(qcow2, first, last - first, flags, &zeroing, err);
    if (r == BYRE_OK && last < end)
        r = zero_part(qcow2, last, end - last, flags, &zeroing, err);
    return r;
}

int qcow2_zero(struct engine *engine, uint64_t offset, uint64_t length,
               uint32_t flags, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    r = qcow2_bitmaps_note(qcow2, offset, length, err);
    if (r < 0)
        return r;
    return qcow2_make_zero(qcow2, offset, length, flags, err);
}

int qcow2_discard(struct engine *engine, uint64_t offset, uint64_t length,
                  struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    const struct zeroing zeroing = { .may_unmap = !qcow2->keep_clusters,
                                     .release = ALLOCATOR_PUNCH };
    const uint64_t cluster = engine_cluster_bytes(engine);
    const uint64_t end = offset + length;
    const uint64_t first = align_up(offset, cluster);
    const uint64_t last = end == engine->size_bytes ? align_up(end, cluster)
                                                    : align_down(end, cluster);
    int r;

    r = writer_check(&qcow2->writer, err);
    if (r < 0 || first >= last || !has_zero_entries(qcow2))
        return r;
    r = qcow2_bitmaps_note(qcow2, first, min_u64(last, end) - first, err);
    if (r < 0)
        return r;
    return zero_units(qcow2, first, last - first, 0, &zeroing, err);
}
