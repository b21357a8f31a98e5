/* SPDX-License-Identifier: MIT */
#include "store/recorder_pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "store/recorder_alternatives.h"

void pending_init(struct pending *pending, struct recorder *recorder)
{
    *pending = (struct pending){ .recorder = recorder };
    sparse_init(&pending->durable, &recorder->first);
}

/* Forgets what is pending, not what is durable. */
static void forget(struct pending *pending)
{
    for (size_t i = 0; i < pending->sector_count; i++)
        free(pending->sectors[i].alternatives);
    free(pending->sectors);
    free(pending->distinct_lengths);
    pending->sectors = NULL;
    pending->distinct_lengths = NULL;
    pending->sector_count = pending->part_count = 0;
    pending->length_count = pending->distinct_length_count = 0;
}

void pending_done(struct pending *pending)
{
    forget(pending);
    free(pending->parts);
    free(pending->lengths);
    sparse_done(&pending->durable);
}

void part_apply(const struct pending_part *part, uint8_t *sector)
{
    if (part->bytes != NULL)
        memcpy(sector + part->from, part->bytes, part->length);
    else
        memset(sector + part->from, 0, part->length);
}

/* ---- What is durable ---- */

static bool is_of(const struct pending *pending, const struct record *record)
{
    return record->store == pending->recorder->index;
}

/* How many operations stand before the last barrier before the cut. */
static uint64_t find_barrier(const struct pending *pending, uint64_t cut)
{
    const struct record *records = pending->recorder->log->records;

    while (cut > 0 && !(records[cut - 1].kind == RECORD_FLUSH &&
                        is_of(pending, &records[cut - 1])))
        cut--;
    return cut;
}

static int make_durable(struct pending *pending, uint64_t barrier,
                        struct byre_error *err)
{
    const struct record *records = pending->recorder->log->records;

    if (barrier < pending->durable_operations) {
        sparse_done(&pending->durable);
        sparse_init(&pending->durable, &pending->recorder->first);
        pending->durable_operations = 0;
    }
    for (uint64_t i = pending->durable_operations; i < barrier; i++) {
        const int r = is_of(pending, &records[i])
                          ? record_apply(&records[i], &pending->durable, err)
                          : BYRE_OK;

        if (r < 0)
            return r;
        pending->durable_operations = i + 1;
    }
    return BYRE_OK;
}

/* ---- Parts ---- */

/* Room for one more element of `size` bytes, in an array that doubles. */
static int grow(void *array, size_t count, size_t *capacity, size_t size,
                struct byre_error *err)
{
    void **pointer = array;
    const size_t wanted = *capacity > 0 ? *capacity * 2 : 64;
    void *moved;

    if (count < *capacity)
        return BYRE_OK;
    moved = realloc(*pointer, wanted * size);
    if (moved == NULL)
        return fail_nomem(err, "pending writes", wanted * size);
    *pointer = moved;
    *capacity = wanted;
    return BYRE_OK;
}

/* Whether the operation may change the sector, but the newest bytes do without.
 */
static bool is_optional(const struct pending *pending, uint64_t operation,
                        uint64_t index)
{
    return pending->recorder->log->records[operation].kind == RECORD_DISCARD &&
           !sparse_discard_zeroes(index);
}

/* Adds what [offset, offset + length) has in the sector `index`, if anything.
 */
static int add_part(struct pending *pending, uint64_t operation, uint64_t index,
                    uint64_t offset, uint64_t length, const uint8_t *bytes,
                    struct byre_error *err)
{
    const uint64_t start = index * SECTOR_BYTES;
    const uint64_t from = max_u64(offset, start);
    const uint64_t end = min_u64(offset + length, start + SECTOR_BYTES);
    int r;

    if (from >= end)
        return BYRE_OK;
    r = grow(&pending->parts, pending->part_count, &pending->part_capacity,
             sizeof(*pending->parts), err);
    if (r < 0)
        return r;

    pending->parts[pending->part_count++] = (struct pending_part){
        .sector = index,
        .operation = operation,
        .bytes = bytes != NULL ? bytes + (from - offset) : NULL,
        .from = (uint32_t)(from - start),
        .length = (uint32_t)(end - from),
        .is_optional = is_optional(pending, operation, index),
    };
    return BYRE_OK;
}

static int add_write(struct pending *pending, uint64_t operation,
                     const struct record *record, struct byre_error *err)
{
    const uint64_t end = record->offset + record->length;
    int r = BYRE_OK;

    for (uint64_t at = record->offset; r == BYRE_OK && at < end;
         at = align_down(at, SECTOR_BYTES) + SECTOR_BYTES)
        r = add_part(pending, operation, at / SECTOR_BYTES, record->offset,
                     record->length, record->bytes, err);
    return r;
}

/*
 * Zeroes are parts only of sectors that hold something else in some state: of
 * those that are stored, and of those that the first `written` parts write.
 */
static int add_zeroes(struct pending *pending, uint64_t operation,
                      uint64_t offset, uint64_t length, size_t written,
                      struct byre_error *err)
{
    int r = BYRE_OK;

    for (const struct sparse_bytes *layer = &pending->durable; layer != NULL;
         layer = layer->base) {
        for (size_t i = 0; r == BYRE_OK && i < layer->own.count; i++)
            r = add_part(pending, operation, layer->own.indexes[i], offset,
                         length, NULL, err);
    }
    for (size_t i = 0; r == BYRE_OK && i < written; i++)
        r = add_part(pending, operation, pending->parts[i].sector, offset,
                     length, NULL, err);
    return r;
}

static int add_length(struct pending *pending, uint64_t operation,
                      uint64_t bytes, struct byre_error *err)
{
    const int r =
        grow(&pending->lengths, pending->length_count,
             &pending->length_capacity, sizeof(*pending->lengths), err);

    if (r == BYRE_OK)
        pending->lengths[pending->length_count++] =
            (struct pending_length){ bytes, operation };
    return r;
}

/* The lengths on the way from *length to the end of a write behind it. */
static int add_growth(struct pending *pending, uint64_t operation,
                      const struct record *record, uint64_t *length,
                      struct byre_error *err)
{
    const uint64_t end = record->offset + record->length;
    const uint64_t from = max_u64(record->offset, *length);
    int r = BYRE_OK;

    if (record->length == 0 || end <= *length)
        return BYRE_OK;
    for (uint64_t at = align_down(from, SECTOR_BYTES) + SECTOR_BYTES;
         r == BYRE_OK && at < end; at += SECTOR_BYTES)
        r = add_length(pending, operation, at, err);
    *length = end;
    return r < 0 ? r : add_length(pending, operation, end, err);
}

static int gather_writes(struct pending *pending, uint64_t cut,
                         struct byre_error *err)
{
    const struct record *records = pending->recorder->log->records;
    int r = BYRE_OK;

    for (uint64_t i = pending->durable_operations; r == BYRE_OK && i < cut; i++)
        if (is_of(pending, &records[i]) && records[i].kind == RECORD_WRITE)
            r = add_write(pending, i, &records[i], err);
    return r;
}

/* Whether a pending operation from `first` on reaches past `length`. */
static bool grows_again(const struct pending *pending, uint64_t first,
                        uint64_t cut, uint64_t length)
{
    const struct record *records = pending->recorder->log->records;

    for (uint64_t i = first; i < cut; i++) {
        const struct record *record = &records[i];

        if (is_of(pending, record) && record->length > 0 &&
            ((record->kind == RECORD_RESIZE && record->length > length) ||
             (record->kind == RECORD_WRITE &&
              record->offset + record->length > length)))
            return true;
    }
    return false;
}

/* A resize of `length` bytes. */
static int add_resize(struct pending *pending, uint64_t operation, uint64_t cut,
                      uint64_t length, size_t written, struct byre_error *err)
{
    const uint64_t wanted = pending->recorder->log->records[operation].length;
    int r = BYRE_OK;

    if (wanted < length && grows_again(pending, operation + 1, cut, wanted))
        r = add_zeroes(pending, operation, wanted, STORE_MAX_OFFSET - wanted,
                       written, err);
    if (r == BYRE_OK && wanted != length)
        r = add_length(pending, operation, wanted, err);
    return r;
}

/* All but the writes, with the length as it is if everything happens. */
static int gather_zeroes_and_lengths(struct pending *pending, uint64_t cut,
                                     struct byre_error *err)
{
    const size_t written = pending->part_count;
    uint64_t length = pending->durable.length;
    int r = BYRE_OK;

    for (uint64_t i = pending->durable_operations; r == BYRE_OK && i < cut;
         i++) {
        const struct record *record = &pending->recorder->log->records[i];

        if (!is_of(pending, record))
            continue;
        if (record->kind == RECORD_WRITE)
            r = add_growth(pending, i, record, &length, err);
        if ((record->kind == RECORD_ZERO || record->kind == RECORD_DISCARD) &&
            record->offset < length)
            r = add_zeroes(pending, i, record->offset,
                           min_u64(record->length, length - record->offset),
                           written, err);
        if (record->kind == RECORD_RESIZE) {
            r = add_resize(pending, i, cut, length, written, err);
            length = record->length;
        }
    }
    return r;
}

static int compare_parts(const void *a, const void *b)
{
    const struct pending_part *x = a, *y = b;

    if (x->sector != y->sector)
        return x->sector < y->sector ? -1 : 1;
    if (x->operation != y->operation)
        return x->operation < y->operation ? -1 : 1;
    return 0;
}

/* Sorts the parts; zeroes of a sector that was met twice are one part. */
static int group_parts(struct pending *pending, struct byre_error *err)
{
    struct pending_part *parts = pending->parts;
    struct pending_sector *sector = NULL;
    size_t kept = 0;

    if (pending->part_count == 0)
        return BYRE_OK;
    qsort(parts, pending->part_count, sizeof(*parts), compare_parts);
    pending->sectors = calloc(pending->part_count, sizeof(*pending->sectors));
    if (pending->sectors == NULL)
        return fail_nomem(err, "pending writes",
                          pending->part_count * sizeof(*pending->sectors));

    for (size_t i = 0; i < pending->part_count; i++) {
        if (kept > 0 && compare_parts(&parts[kept - 1], &parts[i]) == 0)
            continue;
        parts[kept] = parts[i];
        if (sector == NULL || sector->index != parts[kept].sector) {
            sector = &pending->sectors[pending->sector_count++];
            sector->index = parts[kept].sector;
            sector->parts = &parts[kept];
        }
        sector->part_count++;
        kept++;
    }
    pending->part_count = kept;
    return BYRE_OK;
}

/* ---- Lengths ---- */

static int compare_lengths(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static int sort_lengths(struct pending *pending, struct byre_error *err)
{
    const size_t count = pending->length_count + 1;
    uint64_t *distinct = malloc(count * sizeof(*distinct));
    size_t kept = 0;

    if (distinct == NULL)
        return fail_nomem(err, "pending lengths", count * sizeof(*distinct));
    distinct[0] = pending->durable.length;
    for (size_t i = 1; i < count; i++)
        distinct[i] = pending->lengths[i - 1].bytes;
    qsort(distinct, count, sizeof(*distinct), compare_lengths);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || distinct[kept - 1] != distinct[i])
            distinct[kept++] = distinct[i];
    pending->distinct_lengths = distinct;
    pending->distinct_length_count = kept;
    return BYRE_OK;
}

int pending_seek(struct pending *pending, uint64_t cut, uint64_t limit,
                 struct byre_error *err)
{
    int r;

    forget(pending);
    r = make_durable(pending, find_barrier(pending, cut), err);
    if (r == BYRE_OK)
        r = gather_writes(pending, cut, err);
    if (r == BYRE_OK)
        r = gather_zeroes_and_lengths(pending, cut, err);
    if (r == BYRE_OK)
        r = group_parts(pending, err);
    if (r == BYRE_OK)
        r = sort_lengths(pending, err);
    return r < 0 ? r : alternatives_list(pending, limit, err);
}
