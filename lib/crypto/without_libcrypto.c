/* SPDX-License-Identifier: MIT */
/*
 * The calls that need libcrypto, in a build that has none.
 */
#include "base/error.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"

static int fail_without(struct byre_error *err)
{
    return fail(err, BYRE_E_UNSUPPORTED,
                "this build has no libcrypto, which encrypted images and "
                "checksums need");
}

int sector_cipher_new(const struct cipher_spec *spec, const void *key,
                      size_t key_bytes, struct sector_cipher **ret_cipher,
                      struct byre_error *err)
{
    (void)spec;
    (void)key;
    (void)key_bytes;
    (void)ret_cipher;
    return fail_without(err);
}

int sector_cipher_new_aes(const void *passphrase, size_t passphrase_bytes,
                          struct sector_cipher **ret_cipher,
                          struct byre_error *err)
{
    (void)passphrase;
    (void)passphrase_bytes;
    (void)ret_cipher;
    return fail_without(err);
}

void sector_cipher_free(struct sector_cipher *cipher)
{
    (void)cipher;
}

int sector_cipher_decrypt(struct sector_cipher *cipher, uint64_t sector,
                          void *buf, size_t length, struct byre_error *err)
{
    (void)cipher;
    (void)sector;
    (void)buf;
    (void)length;
    return fail_without(err);
}

int sector_cipher_encrypt(struct sector_cipher *cipher, uint64_t sector,
                          void *buf, size_t length, struct byre_error *err)
{
    return sector_cipher_decrypt(cipher, sector, buf, length, err);
}

int hasher_new(const char *hash, struct hasher **ret_hasher,
               struct byre_error *err)
{
    (void)hash;
    (void)ret_hasher;
    return fail_without(err);
}

void hasher_free(struct hasher *hasher)
{
    (void)hasher;
}

int hasher_run(struct hasher *hasher, const void *prefix, size_t prefix_bytes,
               const void *data, size_t length, uint8_t *digest,
               struct byre_error *err)
{
    (void)hasher;
    (void)prefix;
    (void)prefix_bytes;
    (void)data;
    (void)length;
    (void)digest;
    return fail_without(err);
}

int hasher_begin(struct hasher *hasher, struct byre_error *err)
{
    (void)hasher;
    return fail_without(err);
}

int hasher_add(struct hasher *hasher, const void *data, size_t length,
               struct byre_error *err)
{
    (void)data;
    (void)length;
    return hasher_begin(hasher, err);
}

int hasher_end(struct hasher *hasher, uint8_t *digest, struct byre_error *err)
{
    (void)digest;
    return hasher_begin(hasher, err);
}

int hash_run(const char *hash, const void *data, size_t length, uint8_t *digest,
             struct byre_error *err)
{
    (void)hash;
    return hasher_run(NULL, NULL, 0, data, length, digest, err);
}

int hash_pbkdf2(const char *hash, const void *passphrase,
                size_t passphrase_bytes, const void *salt, size_t salt_bytes,
                uint32_t iterations, void *key, size_t key_bytes,
                struct byre_error *err)
{
    (void)hash;
    (void)passphrase;
    (void)passphrase_bytes;
    (void)salt;
    (void)salt_bytes;
    (void)iterations;
    (void)key;
    (void)key_bytes;
    return fail_without(err);
}

static int fail_to_make(struct byre_error *err)
{
    return fail(err, BYRE_E_UNSUPPORTED,
                "this build has no libcrypto, so encrypted images cannot be "
                "made");
}

int luks1_choice_check(const struct luks1_choice *choice,
                       uint64_t *ret_area_bytes, struct byre_error *err)
{
    (void)choice;
    (void)ret_area_bytes;
    return fail_to_make(err);
}

int luks1_slot_make(const struct luks1_header *header,
                    const struct luks1_request *request,
                    const struct sector_cipher *cipher, struct luks1_slot *slot,
                    uint8_t *material, struct byre_error *err)
{
    (void)header;
    (void)request;
    (void)cipher;
    (void)slot;
    (void)material;
    return fail_to_make(err);
}

int luks1_make(const struct luks1_choice *choice, struct random_source *random,
               const void *passphrase, size_t passphrase_bytes, uint8_t *area,
               struct sector_cipher **ret_cipher, struct byre_error *err)
{
    (void)choice;
    (void)random;
    (void)passphrase;
    (void)passphrase_bytes;
    (void)area;
    (void)ret_cipher;
    return fail_to_make(err);
}
