/* SPDX-License-Identifier: MIT */
/*
 * Hashes and key derivation by name; libcrypto's.  Names as in LUKS1: "md5",
 * "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160".
 *
 * An unknown name is BYRE_E_CORRUPT; what this build or its libcrypto lacks is
 * BYRE_E_UNSUPPORTED.
 */
#ifndef BYRE_CRYPTO_HASH_H
#define BYRE_CRYPTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"

#define HASH_MAX_BYTES 64

/* The digest length of `hash`; BYRE_E_CORRUPT if there is no such hash. */
int hash_digest_bytes(const char *hash, size_t *ret_bytes,
                      struct byre_error *err);

/* Hashes `length` bytes into `digest`, hash_digest_bytes() long. */
int hash_run(const char *hash, const void *data, size_t length, uint8_t *digest,
             struct byre_error *err);

/* A hash made ready for many runs.  For one thread at a time. */
struct hasher;

int hasher_new(const char *hash, struct hasher **ret_hasher,
               struct byre_error *err);

/* NULL is allowed. */
void hasher_free(struct hasher *hasher);

/* Hashes `prefix` and, behind it, `data`. */
int hasher_run(struct hasher *hasher, const void *prefix, size_t prefix_bytes,
               const void *data, size_t length, uint8_t *digest,
               struct byre_error *err);

/* The same in parts: begin, any number of adds, end. */
int hasher_begin(struct hasher *hasher, struct byre_error *err);
int hasher_add(struct hasher *hasher, const void *data, size_t length,
               struct byre_error *err);
int hasher_end(struct hasher *hasher, uint8_t *digest, struct byre_error *err);

/* PBKDF2 with HMAC (RFC 8018). */
int hash_pbkdf2(const char *hash, const void *passphrase,
                size_t passphrase_bytes, const void *salt, size_t salt_bytes,
                uint32_t iterations, void *key, size_t key_bytes,
                struct byre_error *err);

/* Overwrites secrets in a way that no compiler removes. */
void secret_wipe(void *buf, size_t length);

/* Compares in a time that does not tell where the first difference is. */
bool secret_equal(const void *a, const void *b, size_t length);

#endif
