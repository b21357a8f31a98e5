/* SPDX-License-Identifier: MIT */
#include "crypto/cipher_worker.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/cipher.h"
#include "crypto/libcrypto.h"

/*
 * Sectors are whole blocks, but a decryption that expects padding holds the
 * last one back.  Elsewhere padding changes nothing, and is not turned off:
 * libcrypto would do so again with each IV.
 */
static bool set_key(EVP_CIPHER_CTX *context, EVP_CIPHER *cipher,
                    const uint8_t *key, enum cipher_direction direction)
{
    const int mode = EVP_CIPHER_get_mode(cipher);
    const bool is_blocks =
        mode == EVP_CIPH_ECB_MODE || mode == EVP_CIPH_CBC_MODE;

    if (EVP_CipherInit_ex2(context, cipher, key, NULL, (int)direction, NULL) !=
        1)
        return false;
    if (!is_blocks || direction == CIPHER_ENCRYPT)
        return true;
    return EVP_CIPHER_CTX_set_padding(context, 0) == 1;
}

static int keyed_context_new(EVP_CIPHER *cipher, const uint8_t *key,
                             enum cipher_direction direction,
                             EVP_CIPHER_CTX **ret, struct byre_error *err)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    if (context == NULL)
        return fail(err, BYRE_E_NOMEM, "out of memory for cipher %s",
                    EVP_CIPHER_get0_name(cipher));

    if (!set_key(context, cipher, key, direction)) {
        EVP_CIPHER_CTX_free(context);
        return fail(err, BYRE_E_UNSUPPORTED,
                    "libcrypto refuses the key for %s with %s: %s",
                    direction == CIPHER_ENCRYPT ? "encryption" : "decryption",
                    EVP_CIPHER_get0_name(cipher), libcrypto_reason());
    }

    *ret = context;
    return BYRE_OK;
}

void cipher_worker_free(struct cipher_worker *worker)
{
    if (worker == NULL)
        return;
    EVP_CIPHER_CTX_free(worker->data[CIPHER_DECRYPT]);
    EVP_CIPHER_CTX_free(worker->data[CIPHER_ENCRYPT]);
    EVP_CIPHER_CTX_free(worker->essiv);
    free(worker);
}

int cipher_worker_new(const struct cipher_keying *keying,
                      struct cipher_worker **ret_worker, struct byre_error *err)
{
    struct cipher_worker *worker = calloc(1, sizeof(*worker));
    int r;

    if (worker == NULL)
        return fail_nomem(err, "cipher", sizeof(*worker));

    if (keying->essiv_cipher != NULL) {
        r = keyed_context_new(keying->essiv_cipher, keying->essiv_key,
                              CIPHER_ENCRYPT, &worker->essiv, err);
        if (r < 0) {
            cipher_worker_free(worker);
            return r;
        }
    }

    *ret_worker = worker;
    return BYRE_OK;
}

int cipher_worker_prepare(const struct cipher_keying *keying,
                          struct cipher_worker *worker,
                          enum cipher_direction direction,
                          struct byre_error *err)
{
    if (worker->data[direction] != NULL)
        return BYRE_OK;
    return keyed_context_new(keying->data_cipher, keying->key, direction,
                             &worker->data[direction], err);
}

/* Makes the IV of `sector` in `iv`, CIPHER_MAX_BLOCK_BYTES long. */
static bool make_iv(const struct cipher_keying *keying,
                    const struct cipher_worker *worker, uint64_t sector,
                    uint8_t *iv)
{
    int length;

    memset(iv, 0, CIPHER_MAX_BLOCK_BYTES);
    if (keying->plan.ivgen == CIPHER_IVGEN_PLAIN)
        le32_put(iv, (uint32_t)sector);
    else
        le64_put(iv, sector);

    if (worker->essiv == NULL)
        return true;
    return EVP_CipherUpdate(worker->essiv, iv, &length, iv,
                            (int)keying->plan.family->block_bytes) == 1;
}

static bool set_iv(const struct cipher_keying *keying,
                   const struct cipher_worker *worker, EVP_CIPHER_CTX *context,
                   uint64_t sector)
{
    uint8_t iv[CIPHER_MAX_BLOCK_BYTES];

    if (keying->plan.ivgen == CIPHER_IVGEN_NONE)
        return true;
    return make_iv(keying, worker, sector, iv) &&
           EVP_CipherInit_ex2(context, NULL, NULL, iv, -1, NULL) == 1;
}

int cipher_worker_run(const struct cipher_keying *keying,
                      struct cipher_worker *worker,
                      enum cipher_direction direction, uint64_t sector,
                      uint8_t *buf, struct byre_error *err)
{
    EVP_CIPHER_CTX *context = worker->data[direction];
    int length = 0;

    if (set_iv(keying, worker, context, sector) &&
        EVP_CipherUpdate(context, buf, &length, buf, CIPHER_SECTOR_BYTES) ==
            1 &&
        length == CIPHER_SECTOR_BYTES)
        return BYRE_OK;

    return fail(err, BYRE_E_UNSUPPORTED,
                "libcrypto cannot %s sector %llu with %s: %s",
                direction == CIPHER_ENCRYPT ? "encrypt" : "decrypt",
                (unsigned long long)sector,
                EVP_CIPHER_get0_name(keying->data_cipher), libcrypto_reason());
}
