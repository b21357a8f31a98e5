/* SPDX-License-Identifier: MIT */
/*
 * What needs no libcrypto: the names and lengths of hashes, and the handling of
 * secrets.
 */
#include "crypto/hash.h"

#include <string.h>

#include "base/error.h"

static const struct {
    const char *name;
    size_t digest_bytes;
} hashes[] = { { "md5", 16 },      { "sha1", 20 },   { "sha224", 28 },
               { "sha256", 32 },   { "sha384", 48 }, { "sha512", 64 },
               { "ripemd160", 20 } };

int hash_digest_bytes(const char *hash, size_t *ret_bytes,
                      struct byre_error *err)
{
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        if (strcmp(hashes[i].name, hash) == 0) {
            *ret_bytes = hashes[i].digest_bytes;
            return BYRE_OK;
        }
    }
    return fail(err, BYRE_E_CORRUPT,
                "hash \"%s\" is not one of md5, sha1, sha224, sha256, sha384, "
                "sha512 and ripemd160",
                hash);
}

void secret_wipe(void *buf, size_t length)
{
    /* The compiler cannot know what a volatile pointer calls. */
    void *(*volatile set)(void *, int, size_t) = memset;

    if (length > 0)
        set(buf, 0, length);
}

bool secret_equal(const void *a, const void *b, size_t length)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    uint8_t difference = 0;

    for (size_t i = 0; i < length; i++)
        difference |= x[i] ^ y[i];
    return difference == 0;
}
