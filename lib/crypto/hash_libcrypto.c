/* SPDX-License-Identifier: MIT */
#include "crypto/hash.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>

#include "base/error.h"
#include "crypto/libcrypto.h"

struct hasher {
    struct libcrypto library;
    EVP_MD *digest;
    EVP_MD_CTX *context;
};

/* libcrypto knows each hash by its LUKS1 name too. */
static int fetch_digest(struct hasher *hasher, const char *hash,
                        struct byre_error *err)
{
    int r;

    hasher->digest = EVP_MD_fetch(hasher->library.context, hash, NULL);
    if (hasher->digest != NULL)
        return BYRE_OK;

    /* Builds differ in which provider has ripemd160. */
    r = libcrypto_add_legacy(&hasher->library, hash, err);
    if (r < 0)
        return r;

    hasher->digest = EVP_MD_fetch(hasher->library.context, hash, NULL);
    if (hasher->digest == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "libcrypto does not offer the hash %s: %s", hash,
                    libcrypto_reason());
    return BYRE_OK;
}

static int hasher_init(struct hasher *hasher, const char *hash,
                       struct byre_error *err)
{
    size_t digest_bytes;
    int r;

    r = hash_digest_bytes(hash, &digest_bytes, err);
    if (r < 0)
        return r;

    r = libcrypto_init(&hasher->library, err);
    if (r < 0)
        return r;

    r = fetch_digest(hasher, hash, err);
    if (r < 0)
        return r;

    hasher->context = EVP_MD_CTX_new();
    if (hasher->context == NULL)
        return fail(err, BYRE_E_NOMEM, "out of memory for hash %s", hash);
    return BYRE_OK;
}

int hasher_new(const char *hash, struct hasher **ret_hasher,
               struct byre_error *err)
{
    struct hasher *hasher = calloc(1, sizeof(*hasher));
    int r;

    if (hasher == NULL)
        return fail_nomem(err, "hash", sizeof(*hasher));

    ERR_set_mark();
    r = hasher_init(hasher, hash, err);
    ERR_pop_to_mark();
    if (r < 0) {
        hasher_free(hasher);
        return r;
    }

    *ret_hasher = hasher;
    return BYRE_OK;
}

void hasher_free(struct hasher *hasher)
{
    if (hasher == NULL)
        return;
    EVP_MD_CTX_free(hasher->context);
    EVP_MD_free(hasher->digest);
    libcrypto_done(&hasher->library);
    free(hasher);
}

static int check(const struct hasher *hasher, int status,
                 struct byre_error *err)
{
    if (status == 1)
        return BYRE_OK;
    return fail(err, BYRE_E_UNSUPPORTED, "libcrypto cannot hash with %s",
                EVP_MD_get0_name(hasher->digest));
}

int hasher_begin(struct hasher *hasher, struct byre_error *err)
{
    return check(
        hasher, EVP_DigestInit_ex2(hasher->context, hasher->digest, NULL), err);
}

int hasher_add(struct hasher *hasher, const void *data, size_t length,
               struct byre_error *err)
{
    return check(hasher, EVP_DigestUpdate(hasher->context, data, length), err);
}

int hasher_end(struct hasher *hasher, uint8_t *digest, struct byre_error *err)
{
    return check(hasher, EVP_DigestFinal_ex(hasher->context, digest, NULL),
                 err);
}

int hasher_run(struct hasher *hasher, const void *prefix, size_t prefix_bytes,
               const void *data, size_t length, uint8_t *digest,
               struct byre_error *err)
{
    int r;

    r = hasher_begin(hasher, err);
    if (r == BYRE_OK)
        r = hasher_add(hasher, prefix, prefix_bytes, err);
    if (r == BYRE_OK)
        r = hasher_add(hasher, data, length, err);
    if (r == BYRE_OK)
        r = hasher_end(hasher, digest, err);
    return r;
}

int hash_run(const char *hash, const void *data, size_t length, uint8_t *digest,
             struct byre_error *err)
{
    struct hasher *hasher;
    int r;

    r = hasher_new(hash, &hasher, err);
    if (r < 0)
        return r;

    r = hasher_run(hasher, NULL, 0, data, length, digest, err);
    hasher_free(hasher);
    return r;
}

/* One derivation's arguments, as PBKDF2 of libcrypto takes them. */
struct pbkdf2 {
    const void *passphrase;
    size_t passphrase_bytes;
    const void *salt;
    size_t salt_bytes;
    uint32_t iterations;
};

/*
 * libcrypto's parameters are not const, because others are outputs; these are
 * only read.
 */
static OSSL_PARAM octets(const char *key, const void *value, size_t length)
{
    union {
        const void *in;
        void *out;
    } bytes = { .in = length > 0 ? value : "" };

    return OSSL_PARAM_construct_octet_string(key, bytes.out, length);
}

static int pbkdf2_derive(const struct hasher *hasher,
                         const struct pbkdf2 *arguments, void *key,
                         size_t key_bytes)
{
    char digest[32];
    int pkcs5 = 1; /* without the lower limits that NIST puts on new keys */
    uint32_t iterations = arguments->iterations;
    OSSL_PARAM params[6];
    EVP_KDF *kdf;
    EVP_KDF_CTX *context;
    int r;

    OPENSSL_strlcpy(digest, EVP_MD_get0_name(hasher->digest), sizeof(digest));
    params[0] = octets(OSSL_KDF_PARAM_PASSWORD, arguments->passphrase,
                       arguments->passphrase_bytes);
    params[1] =
        octets(OSSL_KDF_PARAM_SALT, arguments->salt, arguments->salt_bytes);
    params[2] =
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    params[3] = OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_ITER, &iterations);
    params[4] = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_PKCS5, &pkcs5);
    params[5] = OSSL_PARAM_construct_end();

    kdf = EVP_KDF_fetch(hasher->library.context, "PBKDF2", NULL);
    context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    r = context != NULL ? EVP_KDF_derive(context, key, key_bytes, params) : 0;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return r;
}

int hash_pbkdf2(const char *hash, const void *passphrase,
                size_t passphrase_bytes, const void *salt, size_t salt_bytes,
                uint32_t iterations, void *key, size_t key_bytes,
                struct byre_error *err)
{
    const struct pbkdf2 arguments = { passphrase, passphrase_bytes, salt,
                                      salt_bytes, iterations };
    struct hasher *hasher;
    int r;

    if (iterations == 0)
        return fail(err, BYRE_E_INVALID,
                    "PBKDF2 of 0 iterations, fewer than "
                    "the least of 1");

    r = hasher_new(hash, &hasher, err);
    if (r < 0)
        return r;

    ERR_set_mark();
    if (pbkdf2_derive(hasher, &arguments, key, key_bytes) != 1)
        r = fail(err, BYRE_E_UNSUPPORTED,
                 "libcrypto cannot derive a key with PBKDF2 of %s: %s", hash,
                 libcrypto_reason());
    ERR_pop_to_mark();
    hasher_free(hasher);
    return r;
}
