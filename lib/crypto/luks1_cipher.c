/* SPDX-License-Identifier: MIT */
#include "crypto/luks1_parts.h"

int luks1_cipher_new(const struct luks1_header *header, const uint8_t *key,
                     struct sector_cipher **ret_cipher, struct byre_error *err)
{
    const struct cipher_spec spec = {
        .cipher = header->cipher_name,
        .mode = header->mode,
        .ivgen = header->ivgen,
        .ivgen_hash = header->ivgen_hash,
    };

    return sector_cipher_new(&spec, key, header->key_bytes, ret_cipher, err);
}

int luks1_cipher_check(const struct luks1_header *header,
                       struct byre_error *err)
{
    uint8_t key[LUKS1_MAX_KEY_BYTES];
    struct sector_cipher *cipher;
    int r;

    /* The halves of the key differ, as xts wants them to. */
    for (unsigned i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)i;
    r = luks1_cipher_new(header, key, &cipher, err);
    if (r < 0)
        return r;
    sector_cipher_free(cipher);
    return BYRE_OK;
}
