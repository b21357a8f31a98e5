/* SPDX-License-Identifier: MIT */
/*
 * The anti-forensic splitter: a key spread over so many stripes that losing any
 * of them loses the key.
 *
 *   block(0) = 0
 *   block(i) = diffuse(block(i - 1) xor stripe(i))      for all but the last
 *   key      = block(n - 1) xor stripe(n)
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"

static void xor_bytes(uint8_t *to, const uint8_t *with, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] ^= with[i];
}

/*
 * spec: LUKS1 "AF-splitter", H1: each digest-sized chunk becomes the hash of
 * its number and itself, cut to its length.
 */
static int diffuse(struct hasher *hasher, size_t digest_bytes, uint8_t *block,
                   size_t length, struct byre_error *err)
{
    uint8_t digest[HASH_MAX_BYTES];
    uint8_t number[4];
    uint32_t index = 0;
    int r = BYRE_OK;

    for (size_t done = 0; done < length; done += digest_bytes) {
        const size_t chunk_bytes = min_u64(digest_bytes, length - done);

        be32_put(number, index++);
        r = hasher_run(hasher, number, sizeof(number), block + done,
                       chunk_bytes, digest, err);
        if (r < 0)
            break;
        memcpy(block + done, digest, chunk_bytes);
    }
    secret_wipe(digest, sizeof(digest));
    return r;
}

/* Computes block(n - 1), of `key_bytes`, from the first n - 1 stripes. */
static int diffuse_stripes(const char *hash, const uint8_t *material,
                           size_t key_bytes, uint32_t stripes, uint8_t *block,
                           struct byre_error *err)
{
    struct hasher *hasher;
    size_t digest_bytes;
    int r;

    r = hash_digest_bytes(hash, &digest_bytes, err);
    if (r < 0)
        return r;
    r = hasher_new(hash, &hasher, err);
    if (r < 0)
        return r;

    memset(block, 0, key_bytes);
    for (uint32_t i = 0; i + 1 < stripes && r == BYRE_OK; i++) {
        xor_bytes(block, material + (size_t)i * key_bytes, key_bytes);
        r = diffuse(hasher, digest_bytes, block, key_bytes, err);
    }
    hasher_free(hasher);
    return r;
}

/* Writes block(n - 1) xor `with` to `result`, untouched on failure. */
static int finish(const char *hash, const uint8_t *material, size_t key_bytes,
                  uint32_t stripes, const uint8_t *with, uint8_t *result,
                  struct byre_error *err)
{
    uint8_t *block;
    int r;

    if (stripes == 0 || key_bytes == 0)
        return fail(err, BYRE_E_INVALID,
                    "key of %zu bytes in %u stripes cannot be split or merged",
                    key_bytes, stripes);

    block = malloc(key_bytes);
    if (block == NULL)
        return fail_nomem(err, "key", key_bytes);

    r = diffuse_stripes(hash, material, key_bytes, stripes, block, err);
    if (r == BYRE_OK) {
        xor_bytes(block, with, key_bytes);
        memcpy(result, block, key_bytes);
    }
    secret_wipe(block, key_bytes);
    free(block);
    return r;
}

int luks1_af_merge(const char *hash, const uint8_t *material, size_t key_bytes,
                   uint32_t stripes, uint8_t *key, struct byre_error *err)
{
    const uint8_t *last = material + (size_t)(stripes - 1) * key_bytes;

    return finish(hash, material, key_bytes, stripes, last, key, err);
}

int luks1_af_split(const char *hash, const uint8_t *key, size_t key_bytes,
                   uint32_t stripes, uint8_t *material, struct byre_error *err)
{
    uint8_t *last = material + (size_t)(stripes - 1) * key_bytes;

    return finish(hash, material, key_bytes, stripes, key, last, err);
}
