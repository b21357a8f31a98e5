/* SPDX-License-Identifier: MIT */
#include "base/range_set.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

#define LEAST_CAPACITY 16

void range_set_done(struct range_set *set)
{
    free(set->ranges);
    *set = (struct range_set){ 0 };
}

/* The first range that ends behind `position`, or the count. */
static size_t first_behind(const struct range_set *set, uint64_t position)
{
    size_t low = 0, high = set->count;

    /* What is added in ascending order is looked for behind the last. */
    if (high > 0 && set->ranges[high - 1].end <= position)
        return high;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (set->ranges[middle].end <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct range *range_set_find(const struct range_set *set, uint64_t start,
                                   uint64_t length)
{
    const size_t i = first_behind(set, start);

    assert(length <= UINT64_MAX - start);
    if (length == 0 || i == set->count ||
        set->ranges[i].start >= start + length)
        return NULL;
    return &set->ranges[i];
}

static int make_room(struct range_set *set, struct byre_error *err)
{
    const size_t capacity = (size_t)max_u64(LEAST_CAPACITY, set->capacity * 2);
    struct range *ranges;

    if (set->count < set->capacity)
        return BYRE_OK;
    ranges = realloc(set->ranges, capacity * sizeof(*ranges));
    if (ranges == NULL)
        return fail_nomem(err, "a set of ranges", capacity * sizeof(*ranges));
    set->ranges = ranges;
    set->capacity = capacity;
    return BYRE_OK;
}

static void insert_at(struct range_set *set, size_t i, struct range range)
{
    memmove(&set->ranges[i + 1], &set->ranges[i],
            (set->count - i) * sizeof(set->ranges[0]));
    set->ranges[i] = range;
    set->count++;
}

static void erase(struct range_set *set, size_t from, size_t to)
{
    memmove(&set->ranges[from], &set->ranges[to],
            (set->count - to) * sizeof(set->ranges[0]));
    set->count -= to - from;
}

int range_set_add(struct range_set *set, uint64_t start, uint64_t length,
                  unsigned kind, struct byre_error *err)
{
    const uint64_t end = start + length;
    const size_t i = first_behind(set, start);
    struct range *before = i > 0 ? &set->ranges[i - 1] : NULL;
    struct range *behind = i < set->count ? &set->ranges[i] : NULL;
    int r;

    assert(length <= UINT64_MAX - start);
    assert(range_set_find(set, start, length) == NULL);
    if (length == 0)
        return BYRE_OK;

    if (before != NULL && (before->end != start || before->kind != kind))
        before = NULL;
    if (behind != NULL && (behind->start != end || behind->kind != kind))
        behind = NULL;
    if (before != NULL && behind != NULL) {
        before->end = behind->end;
        erase(set, i, i + 1);
        return BYRE_OK;
    }
    if (before != NULL || behind != NULL) {
        if (before != NULL)
            before->end = end;
        else
            behind->start = start;
        return BYRE_OK;
    }

    r = make_room(set, err);
    if (r < 0)
        return r;
    insert_at(set, i, (struct range){ start, end, kind });
    return BYRE_OK;
}

/* Cuts the middle out of the range `i`. */
static int split(struct range_set *set, size_t i, uint64_t start, uint64_t end,
                 struct byre_error *err)
{
    struct range behind = set->ranges[i];
    int r;

    r = make_room(set, err);
    if (r < 0)
        return r;
    behind.start = end;
    set->ranges[i].end = start;
    insert_at(set, i + 1, behind);
    return BYRE_OK;
}

int range_set_remove(struct range_set *set, uint64_t start, uint64_t length,
                     struct byre_error *err)
{
    const uint64_t end = start + length;
    size_t first = first_behind(set, start);
    size_t last;

    assert(length <= UINT64_MAX - start);
    if (range_set_find(set, start, length) == NULL)
        return BYRE_OK;
    if (set->ranges[first].start < start) {
        if (set->ranges[first].end > end)
            return split(set, first, start, end, err);
        set->ranges[first].end = start;
        first++;
    }
    last = first;
    while (last < set->count && set->ranges[last].end <= end)
        last++;
    if (last < set->count && set->ranges[last].start < end)
        set->ranges[last].start = end;
    erase(set, first, last);
    return BYRE_OK;
}
