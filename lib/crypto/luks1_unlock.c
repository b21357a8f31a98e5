/* SPDX-License-Identifier: MIT */
/*
 * From a passphrase to the data cipher.  Per slot: the passphrase gives a slot
 * key, which decrypts the slot's key material, whose stripes merge to a master
 * key, which is right if its digest is the header's.
 */
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"
#include "crypto/luks1_parts.h"

struct unlock {
    const struct luks1_header *header;
    luks1_read_fn read;
    void *user;
    const void *passphrase;
    size_t passphrase_bytes;
    uint64_t max_iterations;
    uint64_t left_iterations;
    uint8_t *material;
    size_t material_bytes;
    uint8_t slot_key[LUKS1_MAX_KEY_BYTES];
    uint8_t key[LUKS1_MAX_KEY_BYTES];
};

/*
 * Takes what trying a slot costs from the limit before any of it is spent: a
 * header may ask for hours.
 */
static int charge_slot(struct unlock *unlock, unsigned index,
                       struct byre_error *err)
{
    const uint64_t cost = (uint64_t)unlock->header->slots[index].iterations +
                          unlock->header->digest_iterations;

    if (cost > unlock->left_iterations)
        return fail(err, BYRE_E_LIMIT,
                    "LUKS key slot %u needs %llu PBKDF2 iterations, more than "
                    "the %llu left of the limit of %llu; raise "
                    "max_kdf_iterations to allow them",
                    index, (unsigned long long)cost,
                    (unsigned long long)unlock->left_iterations,
                    (unsigned long long)unlock->max_iterations);
    unlock->left_iterations -= cost;
    return BYRE_OK;
}

/* Reads and decrypts the slot's material with unlock->slot_key. */
static int load_material(struct unlock *unlock, const struct luks1_slot *slot,
                         struct byre_error *err)
{
    const uint64_t offset =
        (uint64_t)slot->key_offset_sectors * CIPHER_SECTOR_BYTES;
    struct sector_cipher *cipher;
    int r;

    r = unlock->read(unlock->user, offset, unlock->material,
                     unlock->material_bytes, err);
    if (r < 0)
        return r;

    r = luks1_cipher_new(unlock->header, unlock->slot_key, &cipher, err);
    if (r < 0)
        return r;
    r = sector_cipher_decrypt(cipher, 0, unlock->material,
                              unlock->material_bytes, err);
    sector_cipher_free(cipher);
    return r;
}

/* Returns 1 if unlock->key is the master key, 0 if not. */
static int check_key(struct unlock *unlock, struct byre_error *err)
{
    const struct luks1_header *header = unlock->header;
    uint8_t digest[LUKS1_DIGEST_BYTES];
    int r;

    r = hash_pbkdf2(header->hash, unlock->key, header->key_bytes,
                    header->digest_salt, LUKS1_SALT_BYTES,
                    header->digest_iterations, digest, sizeof(digest), err);
    if (r < 0)
        return r;
    return secret_equal(digest, header->digest, sizeof(digest)) ? 1 : 0;
}

/* Returns 1 with the master key in unlock->key, 0 if the slot stays shut. */
static int try_slot(struct unlock *unlock, unsigned index,
                    struct byre_error *err)
{
    const struct luks1_header *header = unlock->header;
    const struct luks1_slot *slot = &header->slots[index];
    int r;

    r = charge_slot(unlock, index, err);
    if (r < 0)
        return r;

    r = hash_pbkdf2(header->hash, unlock->passphrase, unlock->passphrase_bytes,
                    slot->salt, LUKS1_SALT_BYTES, slot->iterations,
                    unlock->slot_key, header->key_bytes, err);
    if (r < 0)
        return r;
    r = load_material(unlock, slot, err);
    if (r < 0)
        return r;
    r = luks1_af_merge(header->hash, unlock->material, header->key_bytes,
                       slot->stripes, unlock->key, err);
    if (r < 0)
        return r;
    return check_key(unlock, err);
}

/* Returns 0 with the master key in unlock->key. */
static int try_slots(struct unlock *unlock, struct byre_error *err)
{
    unsigned active = 0;
    int r;

    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        if (!unlock->header->slots[i].active)
            continue;
        active++;
        r = try_slot(unlock, i, err);
        if (r != 0)
            return r < 0 ? r : BYRE_OK;
    }
    if (active == 0)
        return fail(err, BYRE_E_SECRET,
                    "LUKS header has no active key slot, so no passphrase "
                    "opens it");
    return fail(err, BYRE_E_SECRET,
                "the passphrase opens none of the %u active key slots", active);
}

/* All slots that open, as bits. */
static int find_slots(struct unlock *unlock, uint32_t *ret_slots,
                      struct byre_error *err)
{
    uint32_t slots = 0;

    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        int r = 0;

        if (unlock->header->slots[i].active)
            r = try_slot(unlock, i, err);
        if (r < 0)
            return r;
        slots |= (uint32_t)r << i;
    }
    *ret_slots = slots;
    return BYRE_OK;
}

static int unlock_begin(struct unlock *unlock, struct byre_error *err)
{
    int r;

    /* Asked before a passphrase is spent on it. */
    r = luks1_cipher_check(unlock->header, err);
    if (r < 0)
        return r;

    unlock->left_iterations = unlock->max_iterations;
    unlock->material_bytes = (size_t)luks1_material_bytes(unlock->header);
    unlock->material = malloc(unlock->material_bytes);
    if (unlock->material == NULL)
        return fail_nomem(err, "LUKS key material", unlock->material_bytes);
    return BYRE_OK;
}

static void unlock_end(struct unlock *unlock)
{
    secret_wipe(unlock->material, unlock->material_bytes);
    free(unlock->material);
    secret_wipe(unlock, sizeof(*unlock));
}

int luks1_unlock(const struct luks1_header *header, luks1_read_fn read,
                 void *user, const void *passphrase, size_t passphrase_bytes,
                 uint64_t max_iterations, struct sector_cipher **ret_cipher,
                 struct byre_error *err)
{
    struct unlock unlock = {
        .header = header,
        .read = read,
        .user = user,
        .passphrase = passphrase,
        .passphrase_bytes = passphrase_bytes,
        .max_iterations = max_iterations,
    };
    int r;

    r = unlock_begin(&unlock, err);
    if (r < 0)
        return r;
    r = try_slots(&unlock, err);
    if (r == BYRE_OK)
        r = luks1_cipher_new(header, unlock.key, ret_cipher, err);
    unlock_end(&unlock);
    return r;
}

int luks1_find_slots(const struct luks1_header *header, luks1_read_fn read,
                     void *user, const void *passphrase,
                     size_t passphrase_bytes, uint64_t max_iterations,
                     uint32_t *ret_slots, struct byre_error *err)
{
    struct unlock unlock = {
        .header = header,
        .read = read,
        .user = user,
        .passphrase = passphrase,
        .passphrase_bytes = passphrase_bytes,
        .max_iterations = max_iterations,
    };
    int r;

    r = unlock_begin(&unlock, err);
    if (r < 0)
        return r;
    r = find_slots(&unlock, ret_slots, err);
    unlock_end(&unlock);
    return r;
}
