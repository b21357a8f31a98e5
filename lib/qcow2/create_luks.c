/* SPDX-License-Identifier: MIT */
#include "qcow2/create_luks.h"

#include <stdlib.h>

#include "base/error.h"
#include "crypto/cipher.h"
#include "crypto/luks1.h"
#include "crypto/random.h"

/* With a seed the result is the same on every machine. */
#define SEEDED_ITERATIONS 1000

static struct luks1_choice choice_of(const struct byre_create_options *opts)
{
    return (struct luks1_choice){
        .cipher_alg = opts->cipher_alg,
        .cipher_mode = opts->cipher_mode,
        .ivgen_alg = opts->ivgen_alg,
        .ivgen_hash_alg = opts->ivgen_hash_alg,
        .hash_alg = opts->hash_alg,
        .iter_time_msec = opts->iter_time_msec,
        .iterations = opts->seed != 0 ? SEEDED_ITERATIONS : 0,
    };
}

int create_luks_size(const struct byre_create_options *opts,
                     uint64_t *ret_bytes, struct byre_error *err)
{
    const struct luks1_choice choice = choice_of(opts);

    if (opts->encryption == BYRE_ENCRYPTION_LUKS)
        return luks1_choice_check(&choice, ret_bytes, err);
    *ret_bytes = 0;
    return BYRE_OK;
}

int create_luks_area(const struct byre_create_options *opts, uint64_t bytes,
                     uint8_t **ret_area, struct byre_error *err)
{
    const struct luks1_choice choice = choice_of(opts);
    struct sector_cipher *cipher = NULL;
    struct random_source random;
    uint8_t *area;
    int r;

    if (bytes == 0) {
        *ret_area = NULL;
        return BYRE_OK;
    }

    area = calloc(1, (size_t)bytes);
    if (area == NULL)
        return fail_nomem(err, "a LUKS area", (size_t)bytes);

    random_source_init(&random, opts->seed);
    r = luks1_make(&choice, &random, opts->passphrase, opts->passphrase_bytes,
                   area, &cipher, err);
    sector_cipher_free(cipher);
    if (r < 0) {
        free(area);
        return r;
    }
    *ret_area = area;
    return BYRE_OK;
}
