/* SPDX-License-Identifier: MIT */
/*
 * What unlocking a LUKS1 header and making one have in common, and the steps of
 * making one.
 */
#ifndef BYRE_CRYPTO_LUKS1_PARTS_H
#define BYRE_CRYPTO_LUKS1_PARTS_H

#include <stdint.h>

#include "byre.h"
#include "crypto/luks1.h"

#define LUKS1_SECTOR_BYTES 512

/* The header's cipher with `key`, of header->key_bytes. */
int luks1_cipher_new(const struct luks1_header *header, const uint8_t *key,
                     struct sector_cipher **ret_cipher, struct byre_error *err);

/* Whether the header's cipher can be had at all, before there is a key. */
int luks1_cipher_check(const struct luks1_header *header,
                       struct byre_error *err);

/*
 * Checks a choice and makes the header of it: names, lengths and the place of
 * each slot, all of them free; no key, salt, digest, iterations or uuid yet.
 */
int luks1_choice_header(const struct luks1_choice *choice,
                        struct luks1_header *ret_header,
                        struct byre_error *err);

/* How many PBKDF2 iterations guard a slot, and the digest of the key. */
struct luks1_iterations {
    uint32_t slot;
    uint32_t digest;
};

/* Measures, unless the choice names a number. */
int luks1_iterations_choose(const struct luks1_choice *choice,
                            const struct luks1_header *header,
                            struct luks1_iterations *ret_iterations,
                            struct byre_error *err);

int luks1_passphrase_check(const void *passphrase, size_t passphrase_bytes,
                           struct byre_error *err);

/*
 * Makes the key material of a slot with salt and iterations: `key` as
 * `passphrase` opens it.  On failure nothing secret is left in `material`.
 */
int luks1_material_make(const struct luks1_header *header,
                        const struct luks1_slot *slot, const uint8_t *key,
                        struct random_source *random, const void *passphrase,
                        size_t passphrase_bytes, uint8_t *material,
                        struct byre_error *err);

#endif
