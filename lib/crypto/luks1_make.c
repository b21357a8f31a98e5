/* SPDX-License-Identifier: MIT */
/*
 * A new LUKS1 area: a random master key, of which the header has the digest and
 * slot 0 the key material that the passphrase opens.
 *
 * The material is split and encrypted in the area itself; until then the master
 * key lies open there, which is why a failure wipes the area (luks1_slot.c).
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"
#include "crypto/luks1_parts.h"
#include "crypto/random.h"

#define UUID_BINARY_BYTES 16

struct making {
    struct random_source *random;
    const void *passphrase;
    size_t passphrase_bytes;
    struct luks1_header header;
    uint8_t key[LUKS1_MAX_KEY_BYTES];
};

/* A random uuid: RFC 4122, version 4. */
static int make_uuid(struct making *making, struct byre_error *err)
{
    uint8_t b[UUID_BINARY_BYTES];
    int r;

    r = random_source_fill(making->random, b, sizeof(b), err);
    if (r < 0)
        return r;

    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(making->header.uuid, sizeof(making->header.uuid),
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
    return BYRE_OK;
}

static int make_random_parts(struct making *making, struct byre_error *err)
{
    struct luks1_header *header = &making->header;
    int r;

    r = random_source_fill(making->random, making->key, header->key_bytes, err);
    if (r < 0)
        return r;
    r = random_source_fill(making->random, header->digest_salt,
                           LUKS1_SALT_BYTES, err);
    if (r < 0)
        return r;
    r = random_source_fill(making->random, header->slots[0].salt,
                           LUKS1_SALT_BYTES, err);
    if (r < 0)
        return r;
    return make_uuid(making, err);
}

/* The digest by which a key is known to be the right one. */
static int derive_digest(struct making *making, struct byre_error *err)
{
    struct luks1_header *header = &making->header;

    return hash_pbkdf2(header->hash, making->key, header->key_bytes,
                       header->digest_salt, LUKS1_SALT_BYTES,
                       header->digest_iterations, header->digest,
                       LUKS1_DIGEST_BYTES, err);
}

static int make_material(struct making *making, uint8_t *area,
                         struct byre_error *err)
{
    const struct luks1_slot *slot = &making->header.slots[0];

    return luks1_material_make(
        &making->header, slot, making->key, making->random, making->passphrase,
        making->passphrase_bytes,
        area + (size_t)slot->key_offset_sectors * LUKS1_SECTOR_BYTES, err);
}

/* Fills the zeroed area, and makes the cipher. */
static int make_area(struct making *making, uint8_t *area,
                     struct sector_cipher **ret_cipher, struct byre_error *err)
{
    int r;

    r = make_random_parts(making, err);
    if (r < 0)
        return r;
    r = derive_digest(making, err);
    if (r < 0)
        return r;
    r = make_material(making, area, err);
    if (r < 0)
        return r;

    luks1_header_encode(&making->header, area);
    return luks1_cipher_new(&making->header, making->key, ret_cipher, err);
}

static int begin(struct making *making, const struct luks1_choice *choice,
                 struct byre_error *err)
{
    struct luks1_iterations iterations;
    int r;

    r = luks1_passphrase_check(making->passphrase, making->passphrase_bytes,
                               err);
    if (r < 0)
        return r;
    r = luks1_choice_header(choice, &making->header, err);
    if (r < 0)
        return r;
    r = luks1_iterations_choose(choice, &making->header, &iterations, err);
    if (r < 0)
        return r;

    making->header.digest_iterations = iterations.digest;
    making->header.slots[0].iterations = iterations.slot;
    making->header.slots[0].active = true;
    return BYRE_OK;
}

int luks1_make(const struct luks1_choice *choice, struct random_source *random,
               const void *passphrase, size_t passphrase_bytes, uint8_t *area,
               struct sector_cipher **ret_cipher, struct byre_error *err)
{
    struct making making = {
        .random = random,
        .passphrase = passphrase,
        .passphrase_bytes = passphrase_bytes,
    };
    size_t area_bytes;
    int r;

    r = begin(&making, choice, err);
    if (r < 0)
        return r;

    area_bytes =
        (size_t)making.header.payload_offset_sectors * LUKS1_SECTOR_BYTES;
    memset(area, 0, area_bytes);
    r = make_area(&making, area, ret_cipher, err);
    if (r < 0)
        secret_wipe(area, area_bytes);
    secret_wipe(&making, sizeof(making));
    return r;
}
