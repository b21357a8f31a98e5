/* SPDX-License-Identifier: MIT */
#include "job/split.h"

#include "base/arith.h"
#include "base/zero_bytes.h"

void split_begin(struct split *split, const struct split_rules *rules,
                 const struct piece *piece, const uint8_t *buf)
{
    *split = (struct split){ .rules = *rules, .piece = piece, .buf = buf };
}

/*
 * The run at the start of `buf` that is all zero or has no zero block, in
 * blocks of `block_bytes` counted from the target's start.
 */
static size_t run_length(const uint8_t *buf, size_t length,
                         uint64_t target_offset, uint64_t block_bytes,
                         bool *ret_zero)
{
    size_t run = 0;

    while (run < length) {
        const uint64_t position = target_offset + run;
        const size_t n =
            (size_t)min_u64(length - run, block_bytes - position % block_bytes);
        const bool zero = bytes_are_zero(buf + run, n);

        if (run > 0 && zero != *ret_zero)
            break;
        *ret_zero = zero;
        run += n;
    }
    return run;
}

static size_t segment_end(const struct split *split)
{
    return split->segment_start +
           (size_t)split->piece->segments[split->segment].length;
}

/* Goes to the segment that the next run begins in, past those that are left. */
static void skip_left(struct split *split)
{
    while (split->next < split->piece->length) {
        const size_t end = segment_end(split);
        const bool left =
            split->piece->segments[split->segment].kind == PIECE_LEFT;

        if (split->next < end && !left)
            return;
        if (split->next < end)
            split->next = end;
        split->segment_start = end;
        split->segment++;
    }
}

/* The end of what follows until something is left again. */
static size_t part_end(const struct split *split)
{
    const struct piece *piece = split->piece;
    size_t end = split->segment_start;

    for (size_t i = split->segment;
         i < piece->segment_count && piece->segments[i].kind != PIECE_LEFT; i++)
        end += (size_t)piece->segments[i].length;
    return end;
}

/* The run at `from`, with zeroes too short to be told apart taken as data. */
static void look(const struct split *split, size_t from, size_t end,
                 struct run *ret)
{
    const uint64_t offset = split->piece->target_offset;
    bool zero = false;
    size_t n = end - from;

    *ret = (struct run){ .start = from, .length = n };
    if (split->rules.block_bytes == 0)
        return;

    ret->length = 0;
    while (from < end) {
        n = run_length(split->buf + from, end - from, offset + from,
                       split->rules.block_bytes, &zero);
        zero = zero && n >= split->rules.shortest_zero;
        if (ret->length > 0 && zero != ret->zero)
            break;
        ret->zero = zero;
        ret->length += n;
        from += n;
        if (zero)
            break;
    }
}

bool split_next(struct split *split, struct run *ret_run)
{
    do {
        skip_left(split);
        if (split->next == split->piece->length)
            return false;
        look(split, split->next, part_end(split), ret_run);
        split->next += ret_run->length;
    } while (ret_run->zero && split->piece->target_offset + ret_run->start >=
                                  split->rules.free_from);
    return true;
}
