/* SPDX-License-Identifier: MIT */
/*
 * The states of a store are, for each length it may have, all combinations of
 * what the sectors below that length may hold.  A number is a state written in
 * mixed radix, one digit for each sector, the lengths one after the other.
 *
 * What a sector may hold is found by trying sequences of its parts.  A sequence
 * starts with the durable bytes or with a part that covers the sector, since
 * such a part hides all before it; and of two neighbours that do not overlap
 * only the order of the log is tried, since the other gives the same bytes.
 */
#include "store/recorder_alternatives.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

/* More parts of a sector than these are not tried in every sequence. */
#define MAX_PARTIAL_PARTS 16
#define MAX_SEQUENCES     65536

#define NO_PART SIZE_MAX

/* The search for what one sector may hold. */
struct search {
    struct pending_sector *sector;
    const struct pending_part *partial[MAX_PARTIAL_PARTS];
    size_t partial_count;
    uint64_t limit;
    uint64_t sequences;
    size_t capacity;
    bool too_many;
    bool no_memory;
};

static bool covers(const struct pending_part *part)
{
    return part->length == SECTOR_BYTES;
}

static bool overlap(const struct pending_part *a, const struct pending_part *b)
{
    return a->from < b->from + b->length && b->from < a->from + a->length;
}

static void search_add(struct search *search, const uint8_t *content)
{
    struct pending_sector *sector = search->sector;
    const size_t capacity = search->capacity > 0 ? search->capacity * 2 : 2;
    uint8_t *moved;

    for (size_t i = 0; i < sector->alternative_count; i++)
        if (memcmp(sector->alternatives + i * SECTOR_BYTES, content,
                   SECTOR_BYTES) == 0)
            return;

    if (sector->alternative_count == search->capacity) {
        moved = realloc(sector->alternatives, capacity * SECTOR_BYTES);
        if (moved == NULL) {
            search->no_memory = true;
            return;
        }
        sector->alternatives = moved;
        search->capacity = capacity;
    }
    memcpy(sector->alternatives + sector->alternative_count++ * SECTOR_BYTES,
           content, SECTOR_BYTES);
    if (sector->alternative_count > search->limit)
        search->too_many = true;
}

/* Adds `content`, and what the parts that are not `used` yet make of it. */
static void search_from(struct search *search, const uint8_t *content,
                        uint32_t used, size_t last)
{
    uint8_t next[SECTOR_BYTES];

    search_add(search, content);
    if (++search->sequences > MAX_SEQUENCES)
        search->too_many = true;
    for (size_t i = 0; i < search->partial_count; i++) {
        if (search->too_many || search->no_memory)
            return;
        if (used & (UINT32_C(1) << i))
            continue;
        if (last != NO_PART && i < last &&
            !overlap(search->partial[i], search->partial[last]))
            continue;
        memcpy(next, content, SECTOR_BYTES);
        part_apply(search->partial[i], next);
        search_from(search, next, used | (UINT32_C(1) << i), i);
    }
}

static void find_partial(struct search *search)
{
    for (size_t i = 0; i < search->sector->part_count; i++) {
        const struct pending_part *part = &search->sector->parts[i];

        if (covers(part))
            continue;
        if (search->partial_count == MAX_PARTIAL_PARTS) {
            search->too_many = true;
            return;
        }
        search->partial[search->partial_count++] = part;
    }
}

/* Lists what the sector may hold; none listed means more than the limit. */
static int list_sector(struct pending *pending, struct pending_sector *sector,
                       uint64_t limit, struct byre_error *err)
{
    struct search search = { .sector = sector, .limit = limit };
    uint8_t content[SECTOR_BYTES];

    find_partial(&search);
    sparse_read(&pending->durable, sector->index * SECTOR_BYTES, content,
                SECTOR_BYTES);
    if (!search.too_many)
        search_from(&search, content, 0, NO_PART);
    for (size_t i = 0; i < sector->part_count; i++) {
        if (search.too_many || search.no_memory)
            break;
        if (!covers(&sector->parts[i]))
            continue;
        part_apply(&sector->parts[i], content);
        search_from(&search, content, 0, NO_PART);
    }
    if (search.no_memory)
        return fail_nomem(err, "alternatives of a sector", SECTOR_BYTES);
    if (search.too_many)
        sector->alternative_count = 0;
    return BYRE_OK;
}

/* ---- Counting ---- */

/* How much of the sector lies below `length`. */
static size_t bytes_below(const struct pending_sector *sector, uint64_t length)
{
    const uint64_t start = sector->index * SECTOR_BYTES;

    return start < length ? (size_t)min_u64(length - start, SECTOR_BYTES) : 0;
}

/*
 * The alternative that is `number` among those which differ in their first
 * `bytes` bytes, or NULL if there are no more than *ret_count of them.
 */
static const uint8_t *distinct_alternative(const struct pending_sector *sector,
                                           size_t bytes, uint64_t number,
                                           uint64_t *ret_count)
{
    uint64_t count = 0;

    for (size_t i = 0; i < sector->alternative_count; i++) {
        const uint8_t *content = sector->alternatives + i * SECTOR_BYTES;
        bool is_new = true;

        for (size_t j = 0; bytes < SECTOR_BYTES && is_new && j < i; j++)
            is_new = memcmp(sector->alternatives + j * SECTOR_BYTES, content,
                            bytes) != 0;
        if (is_new && count++ == number)
            return content;
    }
    *ret_count = count;
    return NULL;
}

/* How many things the sector may hold below `length`; at least 1. */
static uint64_t count_sector(const struct pending_sector *sector,
                             uint64_t length)
{
    const size_t bytes = bytes_below(sector, length);
    uint64_t count = 1;

    if (bytes == SECTOR_BYTES)
        return sector->alternative_count;
    if (bytes > 0)
        distinct_alternative(sector, bytes, UINT64_MAX, &count);
    return count;
}

/* The states with this length, or `limit` + 1 if they are more. */
static uint64_t count_states(const struct pending *pending, uint64_t length,
                             uint64_t limit)
{
    uint64_t count = 1;

    for (size_t i = 0; i < pending->sector_count; i++) {
        count *= count_sector(&pending->sectors[i], length);
        if (count > limit)
            return limit + 1;
    }
    return count;
}

int alternatives_list(struct pending *pending, uint64_t limit,
                      struct byre_error *err)
{
    const uint64_t longest =
        pending->distinct_lengths[pending->distinct_length_count - 1];
    uint64_t count = 1;
    int r;

    pending->state_count = 0;
    for (size_t i = 0; i < pending->sector_count; i++) {
        struct pending_sector *sector = &pending->sectors[i];

        if (bytes_below(sector, longest) == 0)
            break;
        r = list_sector(pending, sector, limit, err);
        if (r < 0)
            return r;
        count *= count_sector(sector, longest);
        if (sector->alternative_count == 0 || count > limit)
            return BYRE_OK;
    }

    count = 0;
    for (size_t i = 0; i < pending->distinct_length_count; i++) {
        count += count_states(pending, pending->distinct_lengths[i], limit);
        if (count > limit)
            return BYRE_OK;
    }
    pending->state_count = count;
    return BYRE_OK;
}

/* ---- Building ---- */

/* The length of state *number; *number is then counted among its states. */
static uint64_t find_length(const struct pending *pending, uint64_t *number)
{
    size_t i = 0;

    for (; i + 1 < pending->distinct_length_count; i++) {
        const uint64_t count = count_states(
            pending, pending->distinct_lengths[i], pending->state_count);

        if (*number < count)
            break;
        *number -= count;
    }
    return pending->distinct_lengths[i];
}

int pending_build(const struct pending *pending, uint64_t number,
                  struct sparse_bytes *ret_bytes, struct byre_error *err)
{
    const uint64_t length = find_length(pending, &number);
    int r = BYRE_OK;

    sparse_init(ret_bytes, &pending->durable);
    for (size_t i = 0; r == BYRE_OK && i < pending->sector_count; i++) {
        const struct pending_sector *sector = &pending->sectors[i];
        const size_t bytes = bytes_below(sector, length);
        const uint64_t radix = count_sector(sector, length);
        uint64_t count;
        const uint8_t *content;

        if (bytes == 0)
            break;
        content = distinct_alternative(sector, bytes, number % radix, &count);
        number /= radix;
        r = sparse_write(ret_bytes, sector->index * SECTOR_BYTES, content,
                         SECTOR_BYTES, err);
    }
    if (r < 0) {
        sparse_done(ret_bytes);
        return r;
    }
    sparse_resize(ret_bytes, length);
    return BYRE_OK;
}
