/* SPDX-License-Identifier: MIT */
/*
 * A sector cipher keeps a list of idle workers.  A call takes one, or makes one
 * when all are busy, so that as many exist as calls ever ran at once; the lock
 * is held only to take and to give back.
 */
#include "crypto/cipher.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "crypto/cipher_spec.h"
#include "crypto/cipher_worker.h"
#include "crypto/hash.h"
#include "crypto/libcrypto.h"

#define AES_LEGACY_KEY_BYTES 16

struct sector_cipher {
    struct cipher_keying keying;
    struct libcrypto library;
    pthread_mutex_t lock; /* guards `idle` */
    struct cipher_worker *idle;
};

/* ---- Idle workers ---- */

static void worker_give(struct sector_cipher *cipher,
                        struct cipher_worker *worker)
{
    pthread_mutex_lock(&cipher->lock);
    worker->next = cipher->idle;
    cipher->idle = worker;
    pthread_mutex_unlock(&cipher->lock);
}

/* Take back with worker_give(). */
static int worker_take(struct sector_cipher *cipher,
                       enum cipher_direction direction,
                       struct cipher_worker **ret_worker,
                       struct byre_error *err)
{
    struct cipher_worker *worker;
    int r = BYRE_OK;

    pthread_mutex_lock(&cipher->lock);
    worker = cipher->idle;
    if (worker != NULL)
        cipher->idle = worker->next;
    pthread_mutex_unlock(&cipher->lock);

    if (worker == NULL)
        r = cipher_worker_new(&cipher->keying, &worker, err);
    if (r < 0)
        return r;

    r = cipher_worker_prepare(&cipher->keying, worker, direction, err);
    if (r < 0) {
        worker_give(cipher, worker);
        return r;
    }

    *ret_worker = worker;
    return BYRE_OK;
}

/* ---- Making ---- */

/* A name that libcrypto takes, in any case of letters: "AES-256-xts". */
static void evp_name(const struct cipher_family *family, size_t key_bytes,
                     const char *mode, char *ret_name, size_t capacity)
{
    if (family->key_bytes[1] == 0)
        snprintf(ret_name, capacity, "%s-%s", family->libcrypto_name, mode);
    else
        snprintf(ret_name, capacity, "%s-%zu-%s", family->libcrypto_name,
                 key_bytes * 8, mode);
}

static int fetch_cipher(const struct sector_cipher *cipher, size_t key_bytes,
                        const char *mode, EVP_CIPHER **ret_cipher,
                        struct byre_error *err)
{
    const struct cipher_family *family = cipher->keying.plan.family;
    char name[64];
    EVP_CIPHER *fetched;

    evp_name(family, key_bytes, mode, name, sizeof(name));
    fetched = EVP_CIPHER_fetch(cipher->library.context, name, NULL);
    if (fetched == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "libcrypto does not offer cipher %s-%zu in mode %s, so "
                    "images of it can be neither read nor made",
                    family->name, key_bytes * 8, mode);
    *ret_cipher = fetched;
    return BYRE_OK;
}

/*
 * essiv encrypts the sector number with the family's cipher of the key length
 * that the hash makes, whatever length the data's keys have.
 */
static int init_essiv(struct sector_cipher *cipher, const char *hash,
                      size_t key_bytes, struct byre_error *err)
{
    struct cipher_keying *keying = &cipher->keying;
    size_t digest_bytes;
    int r;

    r = hash_digest_bytes(hash, &digest_bytes, err);
    if (r < 0)
        return r;
    if (!cipher_family_takes_key(keying->plan.family, digest_bytes))
        return fail(err, BYRE_E_CORRUPT,
                    "essiv:%s makes keys of %zu bytes, and cipher %s has none "
                    "of that length",
                    hash, digest_bytes, keying->plan.family->name);

    r = hash_run(hash, keying->key, key_bytes, keying->essiv_key, err);
    if (r < 0)
        return r;
    return fetch_cipher(cipher, digest_bytes, "ecb", &keying->essiv_cipher,
                        err);
}

static int init_library(struct sector_cipher *cipher, struct byre_error *err)
{
    const struct cipher_family *family = cipher->keying.plan.family;
    int r;

    if (family->libcrypto_name == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "libcrypto does not offer cipher %s, so images of it can "
                    "be neither read nor made",
                    family->name);

    r = libcrypto_init(&cipher->library, err);
    if (r < 0 || !family->is_legacy)
        return r;
    return libcrypto_add_legacy(&cipher->library, family->name, err);
}

static int init_ciphers(struct sector_cipher *cipher,
                        const struct cipher_spec *spec, size_t key_bytes,
                        struct byre_error *err)
{
    struct cipher_keying *keying = &cipher->keying;
    struct cipher_worker *first;
    int r;

    r = init_library(cipher, err);
    if (r < 0)
        return r;

    r = fetch_cipher(cipher, keying->plan.block_key_bytes, spec->mode,
                     &keying->data_cipher, err);
    if (r < 0)
        return r;

    if (keying->plan.ivgen == CIPHER_IVGEN_ESSIV)
        r = init_essiv(cipher, spec->ivgen_hash, key_bytes, err);
    if (r < 0)
        return r;

    /* A key that libcrypto refuses is found here, not at the first sector. */
    r = worker_take(cipher, CIPHER_DECRYPT, &first, err);
    if (r < 0)
        return r;
    worker_give(cipher, first);
    return BYRE_OK;
}

int sector_cipher_new(const struct cipher_spec *spec, const void *key,
                      size_t key_bytes, struct sector_cipher **ret_cipher,
                      struct byre_error *err)
{
    struct cipher_plan plan;
    struct sector_cipher *cipher;
    int r;

    r = cipher_spec_check(spec, key_bytes, &plan, err);
    if (r < 0)
        return r;

    cipher = calloc(1, sizeof(*cipher));
    if (cipher == NULL)
        return fail_nomem(err, "cipher", sizeof(*cipher));
    r = pthread_mutex_init(&cipher->lock, NULL);
    if (r != 0) {
        free(cipher);
        return fail_errno(err, r, "the lock of a cipher cannot be made");
    }

    cipher->keying.plan = plan;
    memcpy(cipher->keying.key, key, key_bytes);
    ERR_set_mark();
    r = init_ciphers(cipher, spec, key_bytes, err);
    ERR_pop_to_mark();
    if (r < 0) {
        sector_cipher_free(cipher);
        return r;
    }

    *ret_cipher = cipher;
    return BYRE_OK;
}

int sector_cipher_new_aes(const void *passphrase, size_t passphrase_bytes,
                          struct sector_cipher **ret_cipher,
                          struct byre_error *err)
{
    const struct cipher_spec spec = { "aes", "cbc", "plain64", NULL };
    uint8_t key[AES_LEGACY_KEY_BYTES] = { 0 };
    int r;

    if (passphrase_bytes > 0)
        memcpy(key, passphrase, min_u64(passphrase_bytes, sizeof(key)));
    r = sector_cipher_new(&spec, key, sizeof(key), ret_cipher, err);
    secret_wipe(key, sizeof(key));
    return r;
}

void sector_cipher_get_key(const struct sector_cipher *cipher, void *key,
                           size_t key_bytes)
{
    memcpy(key, cipher->keying.key,
           min_u64(key_bytes, sizeof(cipher->keying.key)));
}

void sector_cipher_free(struct sector_cipher *cipher)
{
    if (cipher == NULL)
        return;
    while (cipher->idle != NULL) {
        struct cipher_worker *next = cipher->idle->next;

        cipher_worker_free(cipher->idle);
        cipher->idle = next;
    }
    EVP_CIPHER_free(cipher->keying.data_cipher);
    EVP_CIPHER_free(cipher->keying.essiv_cipher);
    libcrypto_done(&cipher->library);
    pthread_mutex_destroy(&cipher->lock);
    secret_wipe(cipher, sizeof(*cipher));
    free(cipher);
}

/* ---- Sectors ---- */

static int run_sectors(struct sector_cipher *cipher,
                       enum cipher_direction direction, uint64_t sector,
                       uint8_t *buf, size_t length, struct byre_error *err)
{
    struct cipher_worker *worker;
    int r;

    if (length % CIPHER_SECTOR_BYTES != 0)
        return fail(err, BYRE_E_INVALID,
                    "%zu bytes are not a multiple of the cipher's sectors of "
                    "%d",
                    length, CIPHER_SECTOR_BYTES);

    r = worker_take(cipher, direction, &worker, err);
    if (r < 0)
        return r;

    for (size_t done = 0; done < length && r == BYRE_OK;
         done += CIPHER_SECTOR_BYTES)
        r = cipher_worker_run(&cipher->keying, worker, direction,
                              sector + done / CIPHER_SECTOR_BYTES, buf + done,
                              err);
    worker_give(cipher, worker);
    return r;
}

int sector_cipher_decrypt(struct sector_cipher *cipher, uint64_t sector,
                          void *buf, size_t length, struct byre_error *err)
{
    int r;

    ERR_set_mark();
    r = run_sectors(cipher, CIPHER_DECRYPT, sector, buf, length, err);
    ERR_pop_to_mark();
    return r;
}

int sector_cipher_encrypt(struct sector_cipher *cipher, uint64_t sector,
                          void *buf, size_t length, struct byre_error *err)
{
    int r;

    ERR_set_mark();
    r = run_sectors(cipher, CIPHER_ENCRYPT, sector, buf, length, err);
    ERR_pop_to_mark();
    return r;
}
