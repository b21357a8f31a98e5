/* SPDX-License-Identifier: MIT */
/*
 * Without these tests a right passphrase could find a LUKS image shut, a wrong
 * one could give garbage, and a header could ask for hours of key derivation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"

#define SECTOR_BYTES 512

struct area {
    struct luks1_header header;
    uint8_t key[LUKS1_MAX_KEY_BYTES];
    uint8_t *bytes;
    size_t length;
    size_t reads;
    int fail_with; /* not 0: what each read returns */
};

static int area_read(void *user, uint64_t offset, void *buf, size_t length,
                     struct byre_error *err)
{
    struct area *area = user;

    (void)err;
    area->reads++;
    if (area->fail_with != 0)
        return area->fail_with;
    assert_true(offset <= area->length && length <= area->length - offset);
    memcpy(buf, area->bytes + offset, length);
    return BYRE_OK;
}

static struct sector_cipher *area_cipher(const struct area *area,
                                         const uint8_t *key)
{
    const struct cipher_spec spec = { area->header.cipher_name,
                                      area->header.mode, area->header.ivgen,
                                      area->header.ivgen_hash };
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };

    if (sector_cipher_new(&spec, key, area->header.key_bytes, &cipher, &err) <
        0)
        fail_msg("%s", err.message);
    return cipher;
}

/* Puts the master key into the slot `index`, under `passphrase`. */
static void area_add(struct area *area, unsigned index, const char *passphrase)
{
    const size_t key_bytes = area->header.key_bytes;
    struct luks1_slot *slot = &area->header.slots[index];
    const size_t offset = (size_t)slot->key_offset_sectors * SECTOR_BYTES;
    uint8_t *material = area->bytes + offset;
    uint8_t slot_key[LUKS1_MAX_KEY_BYTES];
    struct sector_cipher *cipher;

    slot->active = true;
    slot->iterations = 10 + index;
    memset(slot->salt, (int)(0x40 + index), sizeof(slot->salt));
    assert_int_equal(hash_pbkdf2(area->header.hash, passphrase,
                                 strlen(passphrase), slot->salt,
                                 sizeof(slot->salt), slot->iterations, slot_key,
                                 key_bytes, NULL),
                     BYRE_OK);
    for (size_t i = 0; i < key_bytes * (LUKS1_STRIPES - 1); i++)
        material[i] = (uint8_t)(i * 31 + i / 251 + index);
    assert_int_equal(luks1_af_split(area->header.hash, area->key, key_bytes,
                                    LUKS1_STRIPES, material, NULL),
                     BYRE_OK);
    cipher = area_cipher(area, slot_key);
    assert_int_equal(sector_cipher_encrypt(
                         cipher, 0, material,
                         (size_t)luks1_material_bytes(&area->header), NULL),
                     BYRE_OK);
    sector_cipher_free(cipher);
}

/*
 * An area of eight slots without a gap, none of them active, that ends with the
 * last one's key material.
 */
static struct area area_new(const char *cipher_name, const char *cipher_mode,
                            const char *hash, uint32_t key_bytes)
{
    struct area area = { 0 };
    uint8_t buf[LUKS1_HEADER_BYTES];
    uint32_t slot_sectors;

    strcpy(area.header.cipher_name, cipher_name);
    strcpy(area.header.cipher_mode, cipher_mode);
    strcpy(area.header.hash, hash);
    area.header.key_bytes = key_bytes;
    slot_sectors =
        (uint32_t)(luks1_material_bytes(&area.header) / SECTOR_BYTES);
    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        area.header.slots[i].stripes = LUKS1_STRIPES;
        area.header.slots[i].key_offset_sectors = 2 + i * slot_sectors;
    }
    area.length = (2 + (size_t)LUKS1_SLOTS * slot_sectors) * SECTOR_BYTES;
    area.bytes = calloc(1, area.length);
    assert_non_null(area.bytes);

    for (size_t i = 0; i < key_bytes; i++)
        area.key[i] = (uint8_t)(i * 3 + 7);
    area.header.digest_iterations = 20;
    assert_int_equal(hash_pbkdf2(hash, area.key, key_bytes,
                                 area.header.digest_salt, LUKS1_SALT_BYTES, 20,
                                 area.header.digest, LUKS1_DIGEST_BYTES, NULL),
                     BYRE_OK);
    luks1_header_encode(&area.header, buf);
    assert_int_equal(
        luks1_header_decode(buf, sizeof(buf), area.length, &area.header, NULL),
        BYRE_OK);
    return area;
}

static int area_unlock(struct area *area, const char *passphrase,
                       uint64_t max_iterations,
                       struct sector_cipher **ret_cipher,
                       struct byre_error *err)
{
    return luks1_unlock(&area->header, area_read, area, passphrase,
                        strlen(passphrase), max_iterations, ret_cipher, err);
}

/* The cipher that unlocking gives must be the master key's. */
static void assert_opens(struct area *area, const char *passphrase,
                         uint64_t max_iterations)
{
    struct sector_cipher *direct = area_cipher(area, area->key);
    struct sector_cipher *unlocked = NULL;
    struct byre_error err = { 0 };
    uint8_t plain[2 * SECTOR_BYTES];
    uint8_t buf[2 * SECTOR_BYTES];

    if (area_unlock(area, passphrase, max_iterations, &unlocked, &err) < 0)
        fail_msg("%s-%s: %s", area->header.cipher_name,
                 area->header.cipher_mode, err.message);
    memset(plain, 0x77, sizeof(plain));
    memcpy(buf, plain, sizeof(buf));
    assert_int_equal(sector_cipher_encrypt(direct, 9, buf, sizeof(buf), NULL),
                     BYRE_OK);
    assert_memory_not_equal(buf, plain, sizeof(buf));
    assert_int_equal(sector_cipher_decrypt(unlocked, 9, buf, sizeof(buf), NULL),
                     BYRE_OK);
    assert_memory_equal(buf, plain, sizeof(buf));
    sector_cipher_free(direct);
    sector_cipher_free(unlocked);
}

static void test_unlock(void **state)
{
    /* 24 bytes of key: the material ends in the middle of a sector. */
    static const struct {
        const char *cipher, *mode, *hash;
        uint32_t key_bytes;
    } cases[] = {
        { "aes", "xts-plain64", "sha256", 64 },
        { "aes", "xts-plain", "sha1", 32 },
        { "aes", "cbc-essiv:sha256", "sha1", 24 },
        { "aes", "cbc-plain", "sha512", 16 },
        { "aes", "ctr-plain64", "ripemd160", 24 },
        { "aes", "ecb", "sha224", 32 },
        { "cast5", "cbc-plain64", "md5", 16 },
        { "cast5", "ecb-plain64", "sha384", 16 },
    };

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct area area = area_new(cases[i].cipher, cases[i].mode,
                                    cases[i].hash, cases[i].key_bytes);

        area_add(&area, 2, "first");
        area_add(&area, 7, "second");
        assert_opens(&area, "first", UINT64_MAX);
        assert_opens(&area, "second", UINT64_MAX);
        free(area.bytes);
    }
}

static void test_wrong_passphrase(void **state)
{
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };
    struct area area;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    area = area_new("aes", "xts-plain64", "sha256", 64);
    assert_int_equal(area_unlock(&area, "x", UINT64_MAX, &cipher, &err),
                     BYRE_E_SECRET);
    assert_string_equal(err.message, "LUKS header has no active key slot, so "
                                     "no passphrase opens it");
    area_add(&area, 0, "right");
    area_add(&area, 5, "also right");
    assert_int_equal(area_unlock(&area, "wrong", UINT64_MAX, &cipher, &err),
                     BYRE_E_SECRET);
    assert_string_equal(err.message, "the passphrase opens none of the 2 "
                                     "active key slots");
    assert_int_equal(area_unlock(&area, "right\n", UINT64_MAX, &cipher, &err),
                     BYRE_E_SECRET);
    assert_int_equal(area_unlock(&area, "", UINT64_MAX, &cipher, &err),
                     BYRE_E_SECRET);
    assert_null(cipher);
    free(area.bytes);
}

/* Slot 1 costs 11 + 20, slot 4 costs 14 + 20: 31 and 65 in all. */
static void test_iteration_limit(void **state)
{
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };
    struct area area;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    area = area_new("aes", "cbc-plain64", "sha256", 32);
    area_add(&area, 1, "one");
    area_add(&area, 4, "four");

    assert_opens(&area, "one", 31);
    assert_opens(&area, "four", 65);
    area.reads = 0;
    assert_int_equal(area_unlock(&area, "one", 30, &cipher, &err),
                     BYRE_E_LIMIT);
    assert_int_equal(area.reads, 0);
    assert_int_equal(area_unlock(&area, "four", 64, &cipher, &err),
                     BYRE_E_LIMIT);
    assert_string_equal(err.message,
                        "LUKS key slot 4 needs 34 PBKDF2 iterations, more than "
                        "the 33 left of the limit of 64; raise "
                        "max_kdf_iterations to allow them");
    free(area.bytes);
}

/* Hours of PBKDF2 are refused before they start; sums do not wrap. */
static void test_iteration_bomb(void **state)
{
    struct sector_cipher *cipher = NULL;
    struct area area;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    area = area_new("aes", "cbc-plain64", "sha256", 32);
    area_add(&area, 0, "x");
    area.header.slots[0].iterations = UINT32_MAX;
    area.header.digest_iterations = UINT32_MAX;
    assert_int_equal(area_unlock(&area, "x", UINT32_MAX, &cipher, NULL),
                     BYRE_E_LIMIT);
    assert_int_equal(area.reads, 0);
    free(area.bytes);
}

/* A cipher that cannot be had is reported before any PBKDF2 is spent. */
static void test_unlock_refusals(void **state)
{
    struct luks1_header header = {
        .cipher_name = "serpent",
        .mode = "cbc",
        .ivgen = "plain64",
        .hash = "sha256",
        .key_bytes = 32,
        .digest_iterations = 1,
        .slots = { { .active = true,
                     .iterations = 1,
                     .key_offset_sectors = 2,
                     .stripes = LUKS1_STRIPES } },
    };
    struct area area = { .fail_with = BYRE_E_IO };
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };

    (void)state;
    assert_int_equal(
        luks1_unlock(&header, area_read, &area, "x", 1, 0, &cipher, &err),
        BYRE_E_UNSUPPORTED);
    assert_non_null(
        strstr(err.message, BYRE_HAVE_CRYPTO ? "serpent" : "no libcrypto"));
    if (!BYRE_HAVE_CRYPTO)
        return;

    strcpy(header.cipher_name, "aes");
    strcpy(header.hash, "tiger");
    assert_int_equal(luks1_unlock(&header, area_read, &area, "x", 1, UINT64_MAX,
                                  &cipher, &err),
                     BYRE_E_CORRUPT);
    assert_int_equal(area.reads, 0);

    strcpy(header.hash, "sha256");
    assert_int_equal(luks1_unlock(&header, area_read, &area, "x", 1, UINT64_MAX,
                                  &cipher, &err),
                     BYRE_E_IO);
    assert_int_equal(area.reads, 1);
    assert_null(cipher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unlock),
        cmocka_unit_test(test_wrong_passphrase),
        cmocka_unit_test(test_iteration_limit),
        cmocka_unit_test(test_iteration_bomb),
        cmocka_unit_test(test_unlock_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
