/* SPDX-License-Identifier: MIT */
/*
 * A choice is a hash of the sample's key and of what is chosen, so that a state
 * needs nothing but its number to be built again.
 *
 * Coins thrown for each part by itself almost never give "all but one write" or
 * "this one alone", which is where ordering bugs show: hence several kinds.
 */
#include "store/recorder_sample.h"

#include "base/arith.h"

/* Stands for the length of a store where a sector would be named. */
#define LENGTH_SECTOR UINT64_MAX

/* Mixes two words into one that looks random (splitmix64's finish). */
static uint64_t mix(uint64_t key, uint64_t word)
{
    uint64_t x = key + UINT64_C(0x9e3779b97f4a7c15) * (word + 1);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct sample sample_draw(uint64_t seed, uint64_t number, uint64_t first,
                          uint64_t cut)
{
    static const enum sample_kind kinds[] = {
        SAMPLE_PREFIX,     SAMPLE_ALL_BUT_ONE, SAMPLE_ALONE,
        SAMPLE_OPERATIONS, SAMPLE_PARTS,       SAMPLE_PARTS,
    };
    static const uint32_t chances[] = { 16, 64, 128, 192, 240 };
    const uint64_t key = mix(mix(mix(seed, cut), number), 0);

    return (struct sample){
        .key = key,
        .kind = number < SAMPLE_PREFIX
                    ? (enum sample_kind)number
                    : kinds[mix(key, 1) % (sizeof(kinds) / sizeof(kinds[0]))],
        .pivot = cut > first ? first + mix(key, 2) % (cut - first) : first,
        .chance = chances[mix(key, 3) % (sizeof(chances) / sizeof(chances[0]))],
    };
}

static bool coin(const struct sample *sample, uint64_t operation,
                 uint64_t sector)
{
    return mix(mix(sample->key, operation), sector) % 256 < sample->chance;
}

/* Of eight operations three are lost, three are whole, and two are torn. */
static bool coin_for_operation(const struct sample *sample, uint64_t operation,
                               uint64_t sector)
{
    const uint64_t fate = mix(mix(sample->key, 7), operation) % 8;

    return fate < 3 || (fate < 5 && coin(sample, operation, sector));
}

/* Whether what `operation` does to `sector` arrives. */
static bool arrives(const struct sample *sample, uint64_t operation,
                    uint64_t sector)
{
    switch (sample->kind) {
    case SAMPLE_NOTHING:
        return false;
    case SAMPLE_EVERYTHING:
        return true;
    case SAMPLE_PREFIX:
        return operation < sample->pivot ||
               (operation == sample->pivot && coin(sample, operation, sector));
    case SAMPLE_ALL_BUT_ONE:
        return operation != sample->pivot || coin(sample, operation, sector);
    case SAMPLE_ALONE:
        return operation == sample->pivot && coin(sample, operation, sector);
    case SAMPLE_OPERATIONS:
        return coin_for_operation(sample, operation, sector);
    case SAMPLE_PARTS:
        return coin(sample, operation, sector);
    }
    return false;
}

/* The newest bytes are without the optional parts; else a coin decides. */
static bool part_arrives(const struct sample *sample,
                         const struct pending_part *part)
{
    if (!arrives(sample, part->operation, part->sector))
        return false;
    return !part->is_optional || (sample->kind != SAMPLE_EVERYTHING &&
                                  coin(sample, part->sector, part->operation));
}

/*
 * The length that the last operation to arrive gives; now and then any of those
 * that there are.
 */
static uint64_t choose_length(const struct sample *sample,
                              const struct pending *pending)
{
    const uint64_t any = mix(sample->key, 4);
    uint64_t length = pending->durable.length;

    if (sample->kind == SAMPLE_PARTS && any % 4 == 0)
        return pending
            ->distinct_lengths[(any >> 8) % pending->distinct_length_count];
    for (size_t i = 0; i < pending->length_count; i++) {
        const struct pending_length *way = &pending->lengths[i];

        if (arrives(sample, way->operation, LENGTH_SECTOR - way->bytes))
            length = way->bytes;
    }
    return length;
}

/* The part that comes `nth` in the sample's order of the parts of a sector. */
static const struct pending_part *part_in_order(const struct sample *sample,
                                                const struct pending_sector *s,
                                                size_t nth)
{
    const uint64_t turn = mix(sample->key, 5) ^ mix(sample->key, s->index + 6);

    if (sample->kind != SAMPLE_PARTS || turn % 2 == 0)
        return &s->parts[nth];
    if (turn % 4 == 1)
        return &s->parts[s->part_count - 1 - nth];
    return &s->parts[(nth + (turn >> 8)) % s->part_count];
}

static int build_sector(const struct sample *sample,
                        const struct pending *pending,
                        const struct pending_sector *sector,
                        struct sparse_bytes *bytes, struct byre_error *err)
{
    uint8_t content[SECTOR_BYTES];
    bool changed = false;

    sparse_read(&pending->durable, sector->index * SECTOR_BYTES, content,
                SECTOR_BYTES);
    for (size_t i = 0; i < sector->part_count; i++) {
        const struct pending_part *part = part_in_order(sample, sector, i);

        if (!part_arrives(sample, part))
            continue;
        part_apply(part, content);
        changed = true;
    }
    if (!changed)
        return BYRE_OK;
    return sparse_write(bytes, sector->index * SECTOR_BYTES, content,
                        SECTOR_BYTES, err);
}

int sample_build(const struct sample *sample, const struct pending *pending,
                 struct sparse_bytes *ret_bytes, struct byre_error *err)
{
    const uint64_t length = choose_length(sample, pending);
    int r = BYRE_OK;

    sparse_init(ret_bytes, &pending->durable);
    for (size_t i = 0; r == BYRE_OK && i < pending->sector_count; i++) {
        if (pending->sectors[i].index * SECTOR_BYTES >= length)
            break;
        r = build_sector(sample, pending, &pending->sectors[i], ret_bytes, err);
    }
    if (r < 0) {
        sparse_done(ret_bytes);
        return r;
    }
    sparse_resize(ret_bytes, length);
    return BYRE_OK;
}
