/* SPDX-License-Identifier: MIT */
/*
 * The LUKS1 header: key material of a header that is accepted lies within its
 * area, and the header encodes to one of the same meaning.
 */
#include "crypto/luks1.h"
#include "fuzz.h"

#define SECTOR_BYTES 512

static void check_slots(const struct luks1_header *header, uint64_t area_bytes)
{
    for (size_t i = 0; i < LUKS1_SLOTS; i++) {
        const struct luks1_slot *slot = &header->slots[i];
        const uint64_t start =
            (uint64_t)slot->key_offset_sectors * SECTOR_BYTES;
        const uint64_t length = (uint64_t)slot->stripes * header->key_bytes;

        if (!slot->active)
            continue;
        FUZZ_ASSERT(slot->iterations >= 1);
        FUZZ_ASSERT(slot->stripes == LUKS1_STRIPES);
        FUZZ_ASSERT(start >= LUKS1_HEADER_BYTES);
        FUZZ_ASSERT(start <= area_bytes && length <= area_bytes - start);
    }
}

static void check_strings(const struct luks1_header *header)
{
    FUZZ_ASSERT(memchr(header->cipher_name, 0, sizeof(header->cipher_name)));
    FUZZ_ASSERT(memchr(header->cipher_mode, 0, sizeof(header->cipher_mode)));
    FUZZ_ASSERT(memchr(header->hash, 0, sizeof(header->hash)));
    FUZZ_ASSERT(memchr(header->uuid, 0, sizeof(header->uuid)));
    FUZZ_ASSERT(memchr(header->mode, 0, sizeof(header->mode)));
    FUZZ_ASSERT(memchr(header->ivgen, 0, sizeof(header->ivgen)));
    FUZZ_ASSERT(memchr(header->ivgen_hash, 0, sizeof(header->ivgen_hash)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const uint64_t area_bytes = fuzz_take(&input, 8);
    uint8_t encoded[LUKS1_HEADER_BYTES];
    uint8_t again[LUKS1_HEADER_BYTES];
    struct luks1_header header;
    struct byre_error err;
    char name[16];
    int r;

    r = luks1_header_decode(input.data, input.left, area_bytes, &header, &err);
    fuzz_check_result(r, &err);
    if (r < 0)
        return 0;

    FUZZ_ASSERT(header.key_bytes >= 1);
    FUZZ_ASSERT(header.key_bytes <= LUKS1_MAX_KEY_BYTES);
    FUZZ_ASSERT(header.digest_iterations >= 1);
    check_strings(&header);
    check_slots(&header, area_bytes);
    r = luks1_cipher_alg(&header, name, sizeof(name), &err);
    fuzz_check_result(r, &err);

    luks1_header_encode(&header, encoded);
    r = luks1_header_decode(encoded, sizeof(encoded), area_bytes, &header,
                            &err);
    FUZZ_ASSERT(r == BYRE_OK);
    luks1_header_encode(&header, again);
    FUZZ_ASSERT(memcmp(encoded, again, sizeof(encoded)) == 0);
    return 0;
}
