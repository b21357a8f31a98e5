/* SPDX-License-Identifier: MIT */
/*
 * libcrypto contexts, keyed once, for one thread at a time.  Per sector only
 * the IV is set: no key schedule.
 */
#ifndef BYRE_CRYPTO_CIPHER_WORKER_H
#define BYRE_CRYPTO_CIPHER_WORKER_H

#include <openssl/types.h>
#include <stdint.h>

#include "byre.h"
#include "crypto/cipher_spec.h"
#include "crypto/hash.h"

/* What all workers of one sector cipher share, and none changes. */
struct cipher_keying {
    struct cipher_plan plan;
    EVP_CIPHER *data_cipher;
    EVP_CIPHER *essiv_cipher; /* NULL: another IV generator */
    uint8_t key[CIPHER_MAX_KEY_BYTES];
    uint8_t essiv_key[HASH_MAX_BYTES];
};

/* As libcrypto's `enc` argument. */
enum cipher_direction { CIPHER_DECRYPT = 0, CIPHER_ENCRYPT = 1 };

struct cipher_worker {
    struct cipher_worker *next;
    EVP_CIPHER_CTX *data[2]; /* by direction; made when first needed */
    EVP_CIPHER_CTX *essiv;   /* NULL: another IV generator */
};

int cipher_worker_new(const struct cipher_keying *keying,
                      struct cipher_worker **ret_worker,
                      struct byre_error *err);

/* Wipes its key schedules.  NULL is allowed. */
void cipher_worker_free(struct cipher_worker *worker);

/*
 * Makes the worker ready for one direction.  Apart from cipher_worker_new(),
 * because libcrypto decrypts with some keys that it refuses to encrypt with
 * (xts with equal halves).
 */
int cipher_worker_prepare(const struct cipher_keying *keying,
                          struct cipher_worker *worker,
                          enum cipher_direction direction,
                          struct byre_error *err);

/* Runs one sector of CIPHER_SECTOR_BYTES in place, in a prepared direction. */
int cipher_worker_run(const struct cipher_keying *keying,
                      struct cipher_worker *worker,
                      enum cipher_direction direction, uint64_t sector,
                      uint8_t *buf, struct byre_error *err);

#endif
