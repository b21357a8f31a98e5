/* SPDX-License-Identifier: MIT */
#include "crypto/cipher_spec.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* clang-format off */
static const struct cipher_family families[] = {
    { "aes",     16, { 16, 24, 32 }, "AES",   false },
    { "cast5",    8, { 16, 0,  0 },  "CAST5", true },
    { "cast6",   16, { 16, 24, 32 }, NULL,    false },
    { "serpent", 16, { 16, 24, 32 }, NULL,    false },
    { "twofish", 16, { 16, 24, 32 }, NULL,    false },
};
/* clang-format on */

#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))
#define FAMILY_KEYS  3

static bool is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

const struct cipher_family *cipher_family_find(const char *name)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    }
    return NULL;
}

bool cipher_family_takes_key(const struct cipher_family *family,
                             size_t block_key_bytes)
{
    for (size_t i = 0; i < FAMILY_KEYS; i++) {
        if (block_key_bytes != 0 && family->key_bytes[i] == block_key_bytes)
            return true;
    }
    return false;
}

static bool is_alg(const struct cipher_family *family, size_t key_bytes,
                   const char *alg)
{
    char name[32];

    snprintf(name, sizeof(name), "%s-%zu", family->name, key_bytes * 8);
    return strcmp(name, alg) == 0;
}

const struct cipher_family *cipher_alg_find(const char *alg,
                                            size_t *ret_block_key_bytes)
{
    for (size_t i = 0; i < FAMILY_COUNT * FAMILY_KEYS; i++) {
        const struct cipher_family *family = &families[i / FAMILY_KEYS];
        const size_t key_bytes = family->key_bytes[i % FAMILY_KEYS];

        if (key_bytes != 0 && is_alg(family, key_bytes, alg)) {
            *ret_block_key_bytes = key_bytes;
            return family;
        }
    }
    return NULL;
}

size_t cipher_mode_keys(const char *mode)
{
    return strcmp(mode, "xts") == 0 ? 2 : 1;
}

size_t cipher_block_key_bytes(const struct cipher_family *family,
                              const char *mode, size_t key_bytes)
{
    const size_t keys = cipher_mode_keys(mode);

    if (key_bytes % keys != 0 ||
        !cipher_family_takes_key(family, key_bytes / keys))
        return 0;
    return key_bytes / keys;
}

/* Writes the key lengths, each `keys` times over, as "16, 24 or 32". */
static void list_key_bytes(const struct cipher_family *family, size_t keys,
                           char *ret_text, size_t capacity)
{
    const size_t *sizes = family->key_bytes;

    if (sizes[1] == 0)
        snprintf(ret_text, capacity, "%zu", sizes[0] * keys);
    else
        snprintf(ret_text, capacity, "%zu, %zu or %zu", sizes[0] * keys,
                 sizes[1] * keys, sizes[2] * keys);
}

int cipher_key_fail(const struct cipher_family *family, const char *mode,
                    size_t key_bytes, struct byre_error *err)
{
    char sizes[64];

    list_key_bytes(family, cipher_mode_keys(mode), sizes, sizeof(sizes));
    return fail(err, BYRE_E_CORRUPT,
                "key of %zu bytes does not fit cipher %s-%s, which takes %s",
                key_bytes, family->name, mode, sizes);
}

int cipher_mode_parse(const char *mode, enum cipher_mode *ret_mode,
                      struct byre_error *err)
{
    static const struct {
        const char *name;
        enum cipher_mode mode;
    } modes[] = { { "ecb", CIPHER_ECB },
                  { "cbc", CIPHER_CBC },
                  { "xts", CIPHER_XTS },
                  { "ctr", CIPHER_CTR } };

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(modes[i].name, mode) == 0) {
            *ret_mode = modes[i].mode;
            return BYRE_OK;
        }
    }
    return fail(err, BYRE_E_CORRUPT,
                "cipher mode \"%s\" is not one of ecb, cbc, xts and ctr", mode);
}

static int ivgen_parse(const char *ivgen, enum cipher_ivgen *ret_ivgen,
                       struct byre_error *err)
{
    static const struct {
        const char *name;
        enum cipher_ivgen ivgen;
    } ivgens[] = { { "plain", CIPHER_IVGEN_PLAIN },
                   { "plain64", CIPHER_IVGEN_PLAIN64 },
                   { "essiv", CIPHER_IVGEN_ESSIV } };

    for (size_t i = 0; i < sizeof(ivgens) / sizeof(ivgens[0]); i++) {
        if (strcmp(ivgens[i].name, ivgen) == 0) {
            *ret_ivgen = ivgens[i].ivgen;
            return BYRE_OK;
        }
    }
    return fail(err, BYRE_E_CORRUPT,
                "IV generator \"%s\" is not one of plain, plain64 and essiv",
                ivgen);
}

/* An IV generator that is named beside ecb must exist, and is not used. */
static int plan_ivgen(const struct cipher_spec *spec, struct cipher_plan *plan,
                      struct byre_error *err)
{
    int r;

    plan->ivgen = CIPHER_IVGEN_NONE;
    if (is_empty(spec->ivgen)) {
        if (plan->mode == CIPHER_ECB)
            return BYRE_OK;
        return fail(err, BYRE_E_CORRUPT,
                    "cipher mode %s needs an IV generator, and there is none",
                    spec->mode);
    }

    r = ivgen_parse(spec->ivgen, &plan->ivgen, err);
    if (r < 0)
        return r;

    if (plan->mode == CIPHER_ECB)
        plan->ivgen = CIPHER_IVGEN_NONE;
    if (plan->ivgen == CIPHER_IVGEN_ESSIV && is_empty(spec->ivgen_hash))
        return fail(err, BYRE_E_CORRUPT,
                    "IV generator essiv needs a hash, and there is none");
    return BYRE_OK;
}

int cipher_spec_check(const struct cipher_spec *spec, size_t key_bytes,
                      struct cipher_plan *ret_plan, struct byre_error *err)
{
    struct cipher_plan plan = { .family = cipher_family_find(spec->cipher) };
    int r;

    if (plan.family == NULL)
        return fail(
            err, BYRE_E_CORRUPT,
            "cipher \"%s\" is not one of aes, cast5, cast6, serpent and "
            "twofish",
            spec->cipher);

    r = cipher_mode_parse(spec->mode, &plan.mode, err);
    if (r < 0)
        return r;
    if (plan.mode == CIPHER_XTS && plan.family->block_bytes != 16)
        return fail(err, BYRE_E_CORRUPT,
                    "cipher %s has blocks of %zu bytes, and mode xts needs 16",
                    plan.family->name, plan.family->block_bytes);

    r = plan_ivgen(spec, &plan, err);
    if (r < 0)
        return r;

    plan.block_key_bytes =
        cipher_block_key_bytes(plan.family, spec->mode, key_bytes);
    if (plan.block_key_bytes == 0)
        return cipher_key_fail(plan.family, spec->mode, key_bytes, err);

    *ret_plan = plan;
    return BYRE_OK;
}
