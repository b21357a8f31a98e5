/* SPDX-License-Identifier: MIT */
/*
 * Sector ciphers: a block cipher, a mode and an IV made from the sector number,
 * over units of 512 bytes.  The ciphers are libcrypto's.
 */
#ifndef BYRE_CRYPTO_CIPHER_H
#define BYRE_CRYPTO_CIPHER_H

#include <stddef.h>
#include <stdint.h>

#include "byre.h"

#define CIPHER_SECTOR_BYTES 512

/*
 * What to build, in the names of LUKS1 and QEMU: "aes", "cast5", "serpent",
 * "twofish" by `cipher`; "ecb", "cbc", "xts", "ctr" by `mode`; "plain",
 * "plain64", "essiv" or NULL by `ivgen`; for essiv the hash, as "sha256".
 */
struct cipher_spec {
    const char *cipher;
    const char *mode;
    const char *ivgen;
    const char *ivgen_hash;
};

/* A keyed sector cipher.  Safe for many threads at once. */
struct sector_cipher;

/*
 * Names that the specification does not know are BYRE_E_CORRUPT; those that
 * this build's libcrypto lacks (serpent, twofish) are BYRE_E_UNSUPPORTED, as
 * are all in a build without libcrypto.  A key length that does not fit is
 * BYRE_E_CORRUPT.  No key ever appears in a message.
 */
int sector_cipher_new(const struct cipher_spec *spec, const void *key,
                      size_t key_bytes, struct sector_cipher **ret_cipher,
                      struct byre_error *err);

/* Wipes the keys.  NULL is allowed. */
void sector_cipher_free(struct sector_cipher *cipher);

/* The first `key_bytes` of the key it was made with, for the caller to wipe. */
void sector_cipher_get_key(const struct sector_cipher *cipher, void *key,
                           size_t key_bytes);

/*
 * Decrypts (encrypts) `length` bytes, a multiple of 512, in place.  `sector` is
 * the number of the first one, from which the IVs are made.
 */
int sector_cipher_decrypt(struct sector_cipher *cipher, uint64_t sector,
                          void *buf, size_t length, struct byre_error *err);
int sector_cipher_encrypt(struct sector_cipher *cipher, uint64_t sector,
                          void *buf, size_t length, struct byre_error *err);

/*
 * The legacy method 1: AES-128-CBC, the passphrase's first 16 bytes zero-padded
 * as the key, IV the sector number in 8 little-endian bytes and 8 zeroes.
 * (Measured on QEMU 7.2; the specification's "256 bit" is wrong.)
 */
int sector_cipher_new_aes(const void *passphrase, size_t passphrase_bytes,
                          struct sector_cipher **ret_cipher,
                          struct byre_error *err);

#endif
