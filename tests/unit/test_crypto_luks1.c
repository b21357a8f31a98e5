/* SPDX-License-Identifier: MIT */
/*
 * Without these tests a LUKS header that lies could make the reader read
 * outside its area, one that is right could be refused, and keys that were
 * split could merge wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "config.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"

#define SECTOR_BYTES 512
#define SLOT_SECTORS 504 /* what QEMU gives a slot of 64-byte keys */
#define SLOT_AT(i)   (208 + 48 * (i))

/* aes-256-xts with the slots 0 and 3 active, laid out as QEMU does it. */
static struct luks1_header good_header(void)
{
    struct luks1_header header = {
        .cipher_name = "aes",
        .cipher_mode = "xts-plain64",
        .hash = "sha256",
        .payload_offset_sectors = 8 + LUKS1_SLOTS * SLOT_SECTORS,
        .key_bytes = 64,
        .digest_iterations = 1000,
        .uuid = "0f8fad5b-d9cb-469f-a165-70867728950e",
        .mode = "xts",
        .ivgen = "plain64",
    };

    memset(header.digest, 0x11, sizeof(header.digest));
    memset(header.digest_salt, 0x22, sizeof(header.digest_salt));
    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        struct luks1_slot *slot = &header.slots[i];

        slot->active = i == 0 || i == 3;
        slot->iterations = slot->active ? 2000 + i : 0;
        slot->key_offset_sectors = 8 + i * SLOT_SECTORS;
        slot->stripes = LUKS1_STRIPES;
        memset(slot->salt, slot->active ? 0x33 : 0, sizeof(slot->salt));
    }
    return header;
}

#define GOOD_AREA_BYTES                                                        \
    (UINT64_C(512) * (8 + (uint64_t)LUKS1_SLOTS * SLOT_SECTORS))

/* ---- The header ---- */

static void test_round_trip(void **state)
{
    const struct luks1_header header = good_header();
    struct luks1_header decoded;
    uint8_t buf[LUKS1_HEADER_BYTES];
    uint8_t again[LUKS1_HEADER_BYTES];

    (void)state;
    memset(buf, 0xff, sizeof(buf));
    luks1_header_encode(&header, buf);
    assert_int_equal(
        luks1_header_decode(buf, sizeof(buf), GOOD_AREA_BYTES, &decoded, NULL),
        BYRE_OK);
    assert_memory_equal(&decoded, &header, sizeof(header));
    luks1_header_encode(&decoded, again);
    assert_memory_equal(again, buf, sizeof(buf));
}

/* Each field at the place that the specification gives it. */
static void test_layout(void **state)
{
    const struct luks1_header header = good_header();
    uint8_t buf[LUKS1_HEADER_BYTES];

    (void)state;
    luks1_header_encode(&header, buf);
    assert_memory_equal(buf, "LUKS\xba\xbe\0\1aes\0", 12);
    assert_memory_equal(buf + 40, "xts-plain64\0", 12);
    assert_memory_equal(buf + 72, "sha256\0", 7);
    assert_memory_equal(buf + 104, "\0\0\x0f\xc8\0\0\0\x40\x11", 9);
    assert_memory_equal(buf + 131, "\x11\x22", 2);
    assert_memory_equal(buf + 163, "\x22\0\0\x03\xe8\x30\x66", 7);
    assert_memory_equal(buf + 208, "\0\xac\x71\xf3\0\0\x07\xd0\x33", 9);
    assert_memory_equal(buf + 247, "\x33\0\0\0\x08\0\0\x0f\xa0\0\0\xde\xad",
                        13);
}

/* clang-format off */
static const struct {
    const char *whole, *mode, *ivgen, *ivgen_hash; /* mode NULL: refused */
} modes[] = {
    { "ecb", "ecb", "", "" },
    { "cbc", "cbc", "", "" },
    { "cbc-plain", "cbc", "plain", "" },
    { "cbc-essiv:sha256", "cbc", "essiv", "sha256" },
    { "cbc-essiv", "cbc", "essiv", "" },
    { "cbc-plain64:sha256", "cbc", "plain64", "" },
    { "cbc-a-b", "cbc", "a-b", "" },
    { "", NULL, NULL, NULL },
    { "-plain", NULL, NULL, NULL },
    { "cbc-", NULL, NULL, NULL },
    { "cbc-:sha256", NULL, NULL, NULL },
    { "cbc-essiv:", NULL, NULL, NULL },
    { "cbc:sha256", NULL, NULL, NULL },
    { "gcm-random", NULL, NULL, NULL },
};
/* clang-format on */

static void test_modes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct luks1_header header = good_header();
        struct luks1_header decoded;
        struct byre_error err = { 0 };
        uint8_t buf[LUKS1_HEADER_BYTES];
        int r;

        header.key_bytes = 32;
        strcpy(header.cipher_mode, modes[i].whole);
        luks1_header_encode(&header, buf);
        r = luks1_header_decode(buf, sizeof(buf), GOOD_AREA_BYTES, &decoded,
                                &err);
        if (modes[i].mode == NULL) {
            assert_int_equal(r, BYRE_E_CORRUPT);
            assert_true(strstr(err.message, "is not of the form") != NULL ||
                        strstr(err.message, "is not one of ecb") != NULL);
            continue;
        }
        assert_int_equal(r, BYRE_OK);
        assert_string_equal(decoded.mode, modes[i].mode);
        assert_string_equal(decoded.ivgen, modes[i].ivgen);
        assert_string_equal(decoded.ivgen_hash, modes[i].ivgen_hash);
    }
}

/* One field of the good header changed, and what must be said of it. */
/* clang-format off */
static const struct {
    size_t offset;
    size_t length; /* 4: the number; else so many bytes of it, repeated */
    uint32_t value;
    int code;
    const char *message;
} lies[] = {
    { 0, 1, 'K', BYRE_E_CORRUPT, "starts with 0x4b554b53babe instead of its magic 0x4c554b53babe" },
    { 5, 1, 0xbf, BYRE_E_CORRUPT, "magic" },
    { 7, 1, 2, BYRE_E_UNSUPPORTED, "version 2" },
    { 7, 1, 0, BYRE_E_UNSUPPORTED, "version 0" },
    { 8, 32, 'a', BYRE_E_CORRUPT, "cipher name does not end within its 32 bytes" },
    { 40, 32, 'a', BYRE_E_CORRUPT, "cipher mode does not end within its 32 bytes" },
    { 72, 32, 'a', BYRE_E_CORRUPT, "hash does not end within its 32 bytes" },
    { 168, 40, 'a', BYRE_E_CORRUPT, "UUID does not end within its 40 bytes" },
    { 9, 1, 0x1b, BYRE_E_CORRUPT, "cipher name has the byte 0x1b at 1, which is not printable ASCII" },
    { 168, 1, 0xc3, BYRE_E_CORRUPT, "UUID has the byte 0xc3 at 0" },
    { 170, 1, ' ', BYRE_E_CORRUPT, "UUID has the byte 0x20 at 2" },
    { 108, 4, 0, BYRE_E_CORRUPT, "key has 0 bytes, outside 1 to 64" },
    { 108, 4, 65, BYRE_E_CORRUPT, "key has 65 bytes, outside 1 to 64" },
    { 108, 4, UINT32_MAX, BYRE_E_CORRUPT, "key has 4294967295 bytes" },
    { 108, 4, 63, BYRE_E_CORRUPT, "key of 63 bytes does not fit cipher aes-xts, which takes 32, 48 or 64" },
    { 108, 4, 16, BYRE_E_CORRUPT, "key of 16 bytes does not fit" },
    { 164, 4, 0, BYRE_E_CORRUPT, "key digest has 0 iterations" },
    { SLOT_AT(0), 4, 1, BYRE_E_CORRUPT, "key slot 0 has state 0x00000001, which is neither active" },
    { SLOT_AT(7), 4, 0xac71f30, BYRE_E_CORRUPT, "key slot 7 has state 0x0ac71f30" },
    { SLOT_AT(3) + 4, 4, 0, BYRE_E_CORRUPT, "key slot 3 has 0 iterations" },
    { SLOT_AT(3) + 44, 4, 3999, BYRE_E_CORRUPT, "key slot 3 has 3999 stripes instead of 4000" },
    { SLOT_AT(5) + 44, 4, 0, BYRE_E_CORRUPT, "key slot 5 has 0 stripes" },
    { SLOT_AT(0) + 44, 4, UINT32_MAX, BYRE_E_CORRUPT, "key slot 0 has 4294967295 stripes" },
    { SLOT_AT(0) + 40, 4, 0, BYRE_E_CORRUPT, "key slot 0 has its key material at 0, inside the header of 592 bytes" },
    { SLOT_AT(0) + 40, 4, 1, BYRE_E_CORRUPT, "key material at 512, inside the header" },
    { SLOT_AT(3) + 40, 4, 4040 - 499, BYRE_E_CORRUPT, "key slot 3 has its key material at 1812992 to 2068992, past the end of the LUKS area of 2068480 bytes" },
    { SLOT_AT(3) + 40, 4, UINT32_C(0xfffffff0), BYRE_E_CORRUPT, "at 2199023247360 to 2199023503360, past the end" },
    { SLOT_AT(1) + 40, 4, 0, BYRE_E_CORRUPT, "key slot 1 has its key material at 0, inside the header" },
    { SLOT_AT(1) + 40, 4, UINT32_MAX, BYRE_E_CORRUPT, "past the end" },
    { 72, 4, 0x6d643400, BYRE_E_CORRUPT, "md4" },
    { SLOT_AT(3) + 40, 4, 8, BYRE_E_CORRUPT, "key slots 0 and 3 overlap: key material of 256000 bytes at 4096 and at 4096" },
    { SLOT_AT(3) + 40, 4, 8 + 499, BYRE_E_CORRUPT, "key slots 0 and 3 overlap" },
    { SLOT_AT(0) + 40, 4, 1520 + 499, BYRE_E_CORRUPT, "key slots 0 and 3 overlap" },
};

/* Oddities that are none: nothing depends on them, or they just fit. */
static const struct {
    size_t offset;
    uint32_t value;
} oddities[] = {
    { 104, 0 },                     /* payload: QCOW2 has it elsewhere */
    { 104, UINT32_MAX },
    { SLOT_AT(0) + 40, 2 },         /* right behind the header */
    { SLOT_AT(1) + 4, 12345 },
    { 164, UINT32_MAX },            /* unlocking has the limit */
    { SLOT_AT(0) + 4, UINT32_MAX },
};
/* clang-format on */

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const struct luks1_header header = good_header();
        struct luks1_header decoded = { .key_bytes = 77 };
        struct byre_error err = { 0 };
        uint8_t buf[LUKS1_HEADER_BYTES];
        int r;

        luks1_header_encode(&header, buf);
        if (lies[i].length == 4)
            be32_put(buf + lies[i].offset, lies[i].value);
        else
            memset(buf + lies[i].offset, (int)lies[i].value, lies[i].length);
        r = luks1_header_decode(buf, sizeof(buf), GOOD_AREA_BYTES, &decoded,
                                &err);
        if (r == BYRE_OK || strstr(err.message, lies[i].message) == NULL)
            fail_msg("case %zu: %d \"%s\"", i, r, err.message);
        assert_int_equal(r, lies[i].code);
        assert_int_equal(err.code, lies[i].code);
        assert_int_equal(decoded.key_bytes, 77);
    }
}

static void test_oddities(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(oddities) / sizeof(oddities[0]); i++) {
        const struct luks1_header header = good_header();
        struct luks1_header decoded;
        struct byre_error err = { 0 };
        uint8_t buf[LUKS1_HEADER_BYTES];

        luks1_header_encode(&header, buf);
        be32_put(buf + oddities[i].offset, oddities[i].value);
        if (luks1_header_decode(buf, sizeof(buf), GOOD_AREA_BYTES, &decoded,
                                &err) < 0)
            fail_msg("case %zu: %s", i, err.message);
    }
}

static void test_short(void **state)
{
    const struct luks1_header header = good_header();
    struct luks1_header decoded;
    struct byre_error err = { 0 };
    uint8_t buf[LUKS1_HEADER_BYTES];

    (void)state;
    luks1_header_encode(&header, buf);
    assert_int_equal(
        luks1_header_decode(buf, 591, GOOD_AREA_BYTES, &decoded, &err),
        BYRE_E_CORRUPT);
    assert_string_equal(err.message, "LUKS area has 591 bytes, fewer than the "
                                     "592 of its header");
    assert_int_equal(luks1_header_decode(buf, 592, 591, &decoded, &err),
                     BYRE_E_CORRUPT);
    assert_int_equal(luks1_header_decode(NULL, 0, 0, &decoded, &err),
                     BYRE_E_CORRUPT);
    assert_int_equal(luks1_header_decode(buf, 592, 592, &decoded, &err),
                     BYRE_E_CORRUPT);
}

static void test_cipher_alg(void **state)
{
    /* clang-format off */
    static const struct {
        const char *cipher, *mode;
        uint32_t key_bytes;
        const char *alg; /* NULL: BYRE_E_CORRUPT */
    } cases[] = {
        { "aes", "xts", 64, "aes-256" },
        { "aes", "xts", 32, "aes-128" },
        { "aes", "cbc", 24, "aes-192" },
        { "aes", "ecb", 32, "aes-256" },
        { "cast5", "cbc", 16, "cast5-128" },
        { "serpent", "xts", 48, "serpent-192" },
        { "twofish", "ctr", 32, "twofish-256" },
        { "rot13", "cbc", 16, NULL },
        { "aes", "cbc", 64, NULL },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct luks1_header header = { .key_bytes = cases[i].key_bytes };
        char name[64];
        int r;

        strcpy(header.cipher_name, cases[i].cipher);
        strcpy(header.mode, cases[i].mode);
        r = luks1_cipher_alg(&header, name, sizeof(name), NULL);
        if (cases[i].alg == NULL) {
            assert_int_equal(r, BYRE_E_CORRUPT);
            continue;
        }
        assert_int_equal(r, BYRE_OK);
        assert_string_equal(name, cases[i].alg);
    }
}

/* ---- Stripes ---- */

/* Merged by an independent implementation in Python. */
/* clang-format off */
static const struct {
    const char *hash;
    size_t key_bytes;
    uint32_t stripes;
    const char *key;
} merges[] = {
    { "sha1", 32, 4000,
      "cf42de54a89840599b06f994c7d90d3d2dbf1279506af215ef4927ccdd0b234b" },
    { "sha256", 64, 4000,
      "ad6cbf1ac966467c57e489aee8dca23bf9f4805a4e993574935a3e09e0ce50bc"
      "ec2714163437bdb615d83cef9fe543ae6e5399e9283c392b285b3e9fa7a8303d" },
    { "sha512", 16, 7, "9fa8852bc655cf6688d0c9cc874f69b0" },
    { "md5", 24, 1, "000511233b5a80acde17579de93c96f65cc93db737be4ce0" },
};
/* clang-format on */

#define MERGE_COUNT (sizeof(merges) / sizeof(merges[0]))

static uint8_t *new_material(size_t length)
{
    uint8_t *material = malloc(length);

    assert_non_null(material);
    for (uint64_t i = 0; i < length; i++)
        material[i] = (uint8_t)((i * i * 13 + i * 7 + 3) >> 2);
    return material;
}

static void test_merge(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < MERGE_COUNT; i++) {
        uint8_t *material =
            new_material(merges[i].key_bytes * merges[i].stripes);
        uint8_t key[LUKS1_MAX_KEY_BYTES];
        char text[2 * LUKS1_MAX_KEY_BYTES + 1];

        assert_int_equal(luks1_af_merge(merges[i].hash, material,
                                        merges[i].key_bytes, merges[i].stripes,
                                        key, NULL),
                         BYRE_OK);
        for (size_t j = 0; j < merges[i].key_bytes; j++)
            snprintf(text + 2 * j, 3, "%02x", key[j]);
        assert_string_equal(text, merges[i].key);
        free(material);
    }
}

/* What is split merges again, and one lost bit anywhere loses the key. */
static void test_split(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < MERGE_COUNT; i++) {
        const size_t key_bytes = merges[i].key_bytes;
        const uint32_t stripes = merges[i].stripes;
        uint8_t *material = new_material(key_bytes * stripes);
        uint8_t key[LUKS1_MAX_KEY_BYTES];
        uint8_t merged[LUKS1_MAX_KEY_BYTES];

        memset(key, 0x5a, sizeof(key));
        assert_int_equal(luks1_af_split(merges[i].hash, key, key_bytes, stripes,
                                        material, NULL),
                         BYRE_OK);
        assert_int_equal(luks1_af_merge(merges[i].hash, material, key_bytes,
                                        stripes, merged, NULL),
                         BYRE_OK);
        assert_memory_equal(merged, key, key_bytes);
        material[0] ^= 1;
        assert_int_equal(luks1_af_merge(merges[i].hash, material, key_bytes,
                                        stripes, merged, NULL),
                         BYRE_OK);
        assert_memory_not_equal(merged, key, key_bytes);
        free(material);
    }
}

static void test_merge_refusals(void **state)
{
    uint8_t buf[64] = { 0 };
    uint8_t key[32] = { 0 };
    const int unknown = BYRE_E_CORRUPT;

    (void)state;
    assert_int_equal(luks1_af_merge("tiger", buf, 32, 2, key, NULL), unknown);
    assert_int_equal(luks1_af_split("tiger", key, 32, 2, buf, NULL), unknown);
    assert_int_equal(luks1_af_merge("sha1", buf, 0, 2, key, NULL),
                     BYRE_E_INVALID);
    assert_int_equal(luks1_af_split("sha1", key, 32, 0, buf, NULL),
                     BYRE_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_oddities),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_cipher_alg),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_merge_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
