/* SPDX-License-Identifier: MIT */
/*
 * One key slot: the volume key, split and encrypted by a passphrase.
 */
#include <string.h>

#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"
#include "crypto/luks1_parts.h"
#include "crypto/random.h"
#include "crypto/utf8.h"

int luks1_passphrase_check(const void *passphrase, size_t passphrase_bytes,
                           struct byre_error *err)
{
    if (utf8_is_text(passphrase, passphrase_bytes))
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "the passphrase is not UTF-8 text without zero bytes, so "
                "that other programs could not take it");
}

/* ---- Key material ---- */

static int encrypt_material(const struct luks1_header *header,
                            const uint8_t *slot_key, uint8_t *material,
                            struct byre_error *err)
{
    struct sector_cipher *cipher;
    int r;

    r = luks1_cipher_new(header, slot_key, &cipher, err);
    if (r < 0)
        return r;
    r = sector_cipher_encrypt(cipher, 0, material,
                              (size_t)luks1_material_bytes(header), err);
    sector_cipher_free(cipher);
    return r;
}

static int split_key(const struct luks1_header *header, const uint8_t *key,
                     struct random_source *random, uint8_t *material,
                     struct byre_error *err)
{
    int r;

    r = random_source_fill(
        random, material, (size_t)header->key_bytes * (LUKS1_STRIPES - 1), err);
    if (r < 0)
        return r;
    return luks1_af_split(header->hash, key, header->key_bytes, LUKS1_STRIPES,
                          material, err);
}

int luks1_material_make(const struct luks1_header *header,
                        const struct luks1_slot *slot, const uint8_t *key,
                        struct random_source *random, const void *passphrase,
                        size_t passphrase_bytes, uint8_t *material,
                        struct byre_error *err)
{
    uint8_t slot_key[LUKS1_MAX_KEY_BYTES];
    int r;

    r = hash_pbkdf2(header->hash, passphrase, passphrase_bytes, slot->salt,
                    LUKS1_SALT_BYTES, slot->iterations, slot_key,
                    header->key_bytes, err);
    if (r == BYRE_OK)
        r = split_key(header, key, random, material, err);
    if (r == BYRE_OK)
        r = encrypt_material(header, slot_key, material, err);
    secret_wipe(slot_key, sizeof(slot_key));
    if (r < 0)
        secret_wipe(material, (size_t)luks1_material_bytes(header));
    return r;
}

/* ---- A slot that is added ---- */

static int check_key(const struct luks1_header *header, const uint8_t *key,
                     struct byre_error *err)
{
    uint8_t digest[LUKS1_DIGEST_BYTES];
    int r;

    r = hash_pbkdf2(header->hash, key, header->key_bytes, header->digest_salt,
                    LUKS1_SALT_BYTES, header->digest_iterations, digest,
                    sizeof(digest), err);
    if (r < 0)
        return r;
    if (!secret_equal(digest, header->digest, sizeof(digest)))
        return fail(err, BYRE_E_CORRUPT,
                    "the key that the image was opened with is not that of its "
                    "LUKS header any more: somebody else has changed it");
    return BYRE_OK;
}

/* As luks1_make() does; there is no digest to be made. */
static int choose_iterations(const struct luks1_header *header,
                             uint64_t iter_time_msec, uint32_t *ret_iterations,
                             struct byre_error *err)
{
    const struct luks1_choice choice = { .iter_time_msec = iter_time_msec };
    struct luks1_iterations iterations;
    int r;

    r = luks1_iterations_choose(&choice, header, &iterations, err);
    if (r == BYRE_OK)
        *ret_iterations = iterations.slot;
    return r;
}

static int make_slot(const struct luks1_header *header,
                     const struct luks1_request *request, const uint8_t *key,
                     struct luks1_slot *slot, uint8_t *material,
                     struct byre_error *err)
{
    struct random_source random;
    int r;

    random_source_init(&random, 0);
    r = check_key(header, key, err);
    if (r == BYRE_OK)
        r = choose_iterations(header, request->iter_time_msec,
                              &slot->iterations, err);
    if (r == BYRE_OK)
        r = random_source_fill(&random, slot->salt, sizeof(slot->salt), err);
    if (r == BYRE_OK)
        r = luks1_material_make(header, slot, key, &random, request->passphrase,
                                request->passphrase_bytes, material, err);
    return r;
}

int luks1_slot_make(const struct luks1_header *header,
                    const struct luks1_request *request,
                    const struct sector_cipher *cipher, struct luks1_slot *slot,
                    uint8_t *material, struct byre_error *err)
{
    struct luks1_slot made = *slot;
    uint8_t key[LUKS1_MAX_KEY_BYTES];
    int r;

    r = luks1_passphrase_check(request->passphrase, request->passphrase_bytes,
                               err);
    if (r < 0)
        return r;

    memset(material, 0, (size_t)luks1_material_bytes(header));
    sector_cipher_get_key(cipher, key, header->key_bytes);
    r = make_slot(header, request, key, &made, material, err);
    secret_wipe(key, sizeof(key));
    if (r == BYRE_OK)
        *slot = made;
    return r;
}
