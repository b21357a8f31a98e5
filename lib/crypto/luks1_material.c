/* SPDX-License-Identifier: MIT */
/*
 * Where the key material of the slots lies.  Offsets are 32-bit sector numbers,
 * so that sums of theirs in bytes never wrap in 64 bits.  Free slots are held
 * to the same, as a key that is added later is written there.
 */
#include "base/arith.h"
#include "base/error.h"
#include "crypto/luks1.h"

#define SECTOR_BYTES UINT64_C(512)

uint64_t luks1_material_bytes(const struct luks1_header *header)
{
    return align_up((uint64_t)header->key_bytes * LUKS1_STRIPES, SECTOR_BYTES);
}

static uint64_t material_offset(const struct luks1_slot *slot)
{
    return slot->key_offset_sectors * SECTOR_BYTES;
}

static int check_material(const struct luks1_header *header, unsigned index,
                          uint64_t area_bytes, struct byre_error *err)
{
    const uint64_t length = luks1_material_bytes(header);
    const uint64_t offset = material_offset(&header->slots[index]);

    if (offset < LUKS1_HEADER_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS key slot %u has its key material at %llu, inside the "
                    "header of %u bytes",
                    index, (unsigned long long)offset, LUKS1_HEADER_BYTES);
    if (!range_within(offset, length, area_bytes))
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS key slot %u has its key material at %llu to %llu, "
                    "past the end of the LUKS area of %llu bytes",
                    index, (unsigned long long)offset,
                    (unsigned long long)(offset + length),
                    (unsigned long long)area_bytes);
    return BYRE_OK;
}

/* All key material has the same length. */
static int check_apart(const struct luks1_header *header, unsigned index,
                       unsigned other, struct byre_error *err)
{
    const uint64_t length = luks1_material_bytes(header);
    const uint64_t a = material_offset(&header->slots[index]);
    const uint64_t b = material_offset(&header->slots[other]);

    if (max_u64(a, b) - min_u64(a, b) >= length)
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT,
                "LUKS key slots %u and %u overlap: key material of %llu bytes "
                "at %llu and at %llu",
                other, index, (unsigned long long)length, (unsigned long long)b,
                (unsigned long long)a);
}

int luks1_material_check(const struct luks1_header *header, uint64_t area_bytes,
                         struct byre_error *err)
{
    int r;

    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        r = check_material(header, i, area_bytes, err);
        if (r < 0)
            return r;
        for (unsigned j = 0; j < i; j++) {
            r = check_apart(header, i, j, err);
            if (r < 0)
                return r;
        }
    }
    return BYRE_OK;
}
