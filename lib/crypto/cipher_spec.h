/* SPDX-License-Identifier: MIT */
/*
 * The names of ciphers, modes and IV generators, and which of them go together
 * with which key lengths.  Pure: the same in a build without libcrypto.
 */
#ifndef BYRE_CRYPTO_CIPHER_SPEC_H
#define BYRE_CRYPTO_CIPHER_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "byre.h"
#include "crypto/cipher.h"

#define CIPHER_MAX_BLOCK_BYTES 16
#define CIPHER_MAX_KEY_BYTES   64 /* aes-256 in xts, which takes two keys */

enum cipher_mode { CIPHER_ECB, CIPHER_CBC, CIPHER_XTS, CIPHER_CTR };

enum cipher_ivgen {
    CIPHER_IVGEN_NONE, /* ecb has no IV */
    CIPHER_IVGEN_PLAIN,
    CIPHER_IVGEN_PLAIN64,
    CIPHER_IVGEN_ESSIV,
};

/* A block cipher.  Its sizes of keys ascend; unused places are 0. */
struct cipher_family {
    const char *name;
    size_t block_bytes;
    size_t key_bytes[3];
    const char *libcrypto_name; /* NULL: libcrypto does not have it */
    bool is_legacy;             /* libcrypto's legacy provider has it */
};

/* A specification that has been checked. */
struct cipher_plan {
    const struct cipher_family *family;
    enum cipher_mode mode;
    enum cipher_ivgen ivgen;
    size_t block_key_bytes; /* of one block cipher; xts has two of them */
};

/* The family called `name`, or NULL. */
const struct cipher_family *cipher_family_find(const char *name);

/*
 * The family of `alg`, and its key's length: a name with the bits of one block
 * cipher's key, as QEMU has them ("aes-256", "cast5-128").  NULL if there is
 * none.
 */
const struct cipher_family *cipher_alg_find(const char *alg,
                                            size_t *ret_block_key_bytes);

/* How many block ciphers, each with its own key, the mode is made of. */
size_t cipher_mode_keys(const char *mode);

/*
 * The bytes of one block cipher's key where the keys of `mode` are `key_bytes`
 * long in all, or 0 if that length does not fit.
 */
size_t cipher_block_key_bytes(const struct cipher_family *family,
                              const char *mode, size_t key_bytes);

/* The mode called `name`; BYRE_E_CORRUPT if there is none. */
int cipher_mode_parse(const char *name, enum cipher_mode *ret_mode,
                      struct byre_error *err);

/* Whether the family has keys of that length. */
bool cipher_family_takes_key(const struct cipher_family *family,
                             size_t block_key_bytes);

/* Fails with BYRE_E_CORRUPT for a key length that does not fit. */
int cipher_key_fail(const struct cipher_family *family, const char *mode,
                    size_t key_bytes, struct byre_error *err);

/*
 * Checks `spec` and the key length: what the specification does not know, and
 * what does not go together, is BYRE_E_CORRUPT.
 */
int cipher_spec_check(const struct cipher_spec *spec, size_t key_bytes,
                      struct cipher_plan *ret_plan, struct byre_error *err);

#endif
