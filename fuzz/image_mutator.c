/* SPDX-License-Identifier: MIT */
/*
 * Lies that know the format: libFuzzer asks here how to change an input of
 * open_write.c.  One time in four its own ways are used; else a field of the
 * header, an entry of a table, a refcount or an operation gets a value that
 * may matter: one from elsewhere in the image, an edge, a flag turned over.
 */
#include <stdbool.h>

#include "fuzz.h"
#include "soundness.h"

#define SCRIPT_HEAD 4
#define OP_BYTES    8
#define MAX_OPS     32

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed);

struct mutation {
    uint8_t *image;
    size_t length;
    uint32_t cluster_bits;
    uint64_t state;
};

static uint64_t dice(struct mutation *mutation, uint64_t sides)
{
    mutation->state =
        mutation->state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (mutation->state >> 33) % sides;
}

static uint64_t get(const struct mutation *mutation, uint64_t offset,
                    unsigned bytes)
{
    return image_number(mutation->image, mutation->length, offset, bytes);
}

static void put(struct mutation *mutation, uint64_t offset, unsigned bytes,
                uint64_t value)
{
    if (offset >= mutation->length || bytes > mutation->length - offset)
        return;
    for (unsigned i = 0; i < bytes; i++)
        mutation->image[offset + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

/* ---- Where ---- */

static uint64_t active_l2(struct mutation *mutation)
{
    const uint64_t l1 = get(mutation, 40, 8);
    const uint64_t entries = get(mutation, 36, 4);

    for (int i = 0; i < 8 && entries > 0; i++) {
        const uint64_t entry =
            get(mutation, l1 + dice(mutation, entries) * 8, 8);

        if (entry != 0)
            return entry & UINT64_C(0x00fffffffffffe00);
    }
    return l1;
}

/* A table of the image: its offset, and in *ret_entries its entries. */
static uint64_t choose_table(struct mutation *mutation, uint64_t *ret_entries)
{
    const uint64_t cluster = UINT64_C(1) << mutation->cluster_bits;
    const uint64_t snapshots = get(mutation, 64, 8);

    *ret_entries = cluster / 8;
    switch (dice(mutation, 8)) {
    case 0:
        *ret_entries = 2;
        return get(mutation, 48, 8);
    case 1:
        return get(mutation, get(mutation, 48, 8), 8);
    case 2:
    case 3:
        *ret_entries = get(mutation, 36, 4) + 1;
        return get(mutation, 40, 8);
    case 4:
        if (get(mutation, 60, 4) == 0)
            return active_l2(mutation);
        *ret_entries = 2;
        return dice(mutation, 2) ? get(mutation, snapshots, 8) : snapshots;
    default:
        return active_l2(mutation);
    }
}

/* ---- What ---- */

static uint64_t some_offset(struct mutation *mutation)
{
    const uint64_t clusters = (mutation->length >> mutation->cluster_bits) + 3;

    switch (dice(mutation, 8)) {
    case 0:
        return get(mutation, 40, 8);
    case 1:
        return get(mutation, 48, 8);
    case 2:
        return get(mutation, 64, 8);
    case 3:
        return active_l2(mutation);
    default:
        return dice(mutation, clusters) << mutation->cluster_bits;
    }
}

static uint64_t some_word(struct mutation *mutation, uint64_t old)
{
    static const uint64_t edges[] = {
        0,
        1,
        2,
        0xffff,
        0xffffffff,
        UINT64_MAX,
        INT64_MAX,
        UINT64_C(1) << 62,
        UINT64_C(1) << 63,
        0x00fffffffffffe00,
        UINT64_C(0xffffffff) << 32,
        UINT64_C(0xffffffff00000001),
    };
    const uint64_t copied = dice(mutation, 2) << 63;

    switch (dice(mutation, 8)) {
    case 0:
        return edges[dice(mutation, sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return old ^ UINT64_C(1) << dice(mutation, 64);
    case 2:
        return old ^ UINT64_C(1) << 63;
    case 3:
        return old + (UINT64_C(1) << mutation->cluster_bits);
    case 4:
        return some_offset(mutation) | dice(mutation, 512) | UINT64_C(1) << 62 |
               dice(mutation, 4) << 60;
    case 5:
        return some_offset(mutation) | copied | dice(mutation, 2);
    default:
        return some_offset(mutation) | copied;
    }
}

static void lie_in_table(struct mutation *mutation)
{
    uint64_t entries;
    const uint64_t table = choose_table(mutation, &entries);
    const uint64_t most = entries < 16 || dice(mutation, 4) == 0 ? entries : 16;
    const uint64_t at = table + dice(mutation, most) * 8;

    put(mutation, at, 8, some_word(mutation, get(mutation, at, 8)));
}

static void lie_in_refcounts(struct mutation *mutation)
{
    static const uint64_t counts[] = { 0, 0, 1, 2, 3, 0x7fff, 0xffff };
    const uint64_t block = get(mutation, get(mutation, 48, 8), 8);
    const uint64_t cluster =
        dice(mutation, (mutation->length >> mutation->cluster_bits) + 3);

    put(mutation, block + cluster * 2, 2, counts[dice(mutation, 7)]);
}

static void lie_in_header(struct mutation *mutation)
{
    static const struct {
        uint8_t at, bytes;
    } fields[] = {
        { 4, 4 },  { 8, 8 },  { 16, 4 }, { 20, 4 }, { 24, 8 },  { 32, 4 },
        { 36, 4 }, { 40, 8 }, { 48, 8 }, { 56, 4 }, { 60, 4 },  { 64, 8 },
        { 72, 8 }, { 80, 8 }, { 88, 8 }, { 96, 4 }, { 100, 4 },
    };
    const uint64_t i = dice(mutation, sizeof(fields) / sizeof(fields[0]));
    const uint64_t old = get(mutation, fields[i].at, fields[i].bytes);
    uint64_t value;

    switch (dice(mutation, 4)) {
    case 0:
        value = old + 1;
        break;
    case 1:
        value = old - 1;
        break;
    case 2:
        value = old ^ UINT64_C(1) << dice(mutation, 6);
        break;
    default:
        value = some_word(mutation, old);
        break;
    }
    put(mutation, fields[i].at, fields[i].bytes, value);
}

/* ---- Scripts ---- */

static void change_op(struct mutation *mutation, uint8_t *op)
{
    static const uint8_t kinds[] = { 0, 0, 0, 1, 2, 2, 3, 4, 6, 6, 7 };

    op[0] = (uint8_t)(kinds[dice(mutation, sizeof(kinds))] |
                      (dice(mutation, 32) & dice(mutation, 32)) << 3);
    op[1] = 0;
    op[2] = (uint8_t)dice(mutation, dice(mutation, 2) ? 2 : 255);
    op[3] = (uint8_t)dice(mutation, 256);
    op[4] = (uint8_t)dice(mutation, dice(mutation, 2) ? 8 : 128);
    op[5] = (uint8_t)dice(mutation, 256);
    op[6] = (uint8_t)dice(mutation, 256);
    op[7] = (uint8_t)(dice(mutation, 4) & dice(mutation, 4));
}

/* Returns the new size. */
static size_t change_script(struct mutation *mutation, uint8_t *data,
                            size_t size, size_t max_size)
{
    const size_t ops = data[1] % (MAX_OPS + 1);
    const size_t which = (size_t)dice(mutation, ops + 1);
    uint8_t *op = data + SCRIPT_HEAD + which * OP_BYTES;
    const size_t behind = size - SCRIPT_HEAD - which * OP_BYTES;

    switch (dice(mutation, 4)) {
    case 0:
        data[0] ^= (uint8_t)(1u << dice(mutation, 7));
        data[3] = (uint8_t)(dice(mutation, 2) * dice(mutation, 60));
        return size;
    case 1:
        if (ops == MAX_OPS || size + OP_BYTES > max_size)
            return size;
        memmove(op + OP_BYTES, op, behind);
        data[1] = (uint8_t)(ops + 1);
        change_op(mutation, op);
        return size + OP_BYTES;
    default:
        if (which < ops)
            change_op(mutation, op);
        return size;
    }
}

static void change_image(struct mutation *mutation)
{
    mutation->cluster_bits = (uint32_t)get(mutation, 20, 4);
    if (mutation->cluster_bits < 9 || mutation->cluster_bits > 21)
        mutation->cluster_bits = 9;
    for (uint64_t n = 1 + dice(mutation, 3); n > 0; n--) {
        switch (dice(mutation, 8)) {
        case 0:
        case 1:
            lie_in_header(mutation);
            break;
        case 2:
        case 3:
            lie_in_refcounts(mutation);
            break;
        default:
            lie_in_table(mutation);
            break;
        }
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned int seed)
{
    struct mutation mutation = { .state = seed };
    size_t script;

    dice(&mutation, 2);
    if (size < SCRIPT_HEAD || dice(&mutation, 4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    script = SCRIPT_HEAD + OP_BYTES * (size_t)(data[1] % (MAX_OPS + 1));
    if (script >= size)
        return LLVMFuzzerMutate(data, size, max_size);
    if (dice(&mutation, 2))
        return change_script(&mutation, data, size, max_size);
    mutation.image = data + script;
    mutation.length = size - script;
    change_image(&mutation);
    return size;
}
