/* SPDX-License-Identifier: MIT */
/*
 * Without these tests a cipher, mode or IV generator could go wrong in a way
 * that a round trip hides, and every encrypted image would read as garbage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "crypto/cipher.h"

#if BYRE_HAVE_CRYPTO
#include <openssl/err.h>
#include <openssl/provider.h>
#endif

#define SECTOR       UINT64_C(0x123456789) /* plain cuts it, plain64 does not */
#define SECTORS      2
#define BUFFER_BYTES (SECTORS * CIPHER_SECTOR_BYTES)
#define EDGE_BYTES   16

static void fill_plain(uint8_t *buf, size_t length)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = (uint8_t)(i * 7 + 3);
}

static void fill_key(uint8_t *key, size_t length)
{
    for (size_t i = 0; i < length; i++)
        key[i] = (uint8_t)(i * 5 + 1);
}

static void assert_hex(const uint8_t *bytes, size_t length, const char *want)
{
    char text[2 * EDGE_BYTES + 1];

    assert_true(length <= EDGE_BYTES);
    for (size_t i = 0; i < length; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, want);
}

struct vector {
    const char *cipher;
    const char *mode;
    const char *ivgen;
    const char *ivgen_hash;
    size_t key_bytes;
    const char *first; /* 16 bytes of the first sector */
    const char *last;  /* 16 bytes of the second one */
};

/*
 * The cipher text of fill_plain() under fill_key(), computed with Python's
 * "cryptography", IVs by hand: independent of all code here but libcrypto.
 */
/* clang-format off */
static const struct vector vectors[] = {
    { "aes", "ecb", NULL, NULL, 16,
      "b83d5d819d9e4817b8ec162779b29d81",
      "aaf9d1d204b3778e6c2707f0e3cc8ac3" },
    { "aes", "cbc", "plain", NULL, 16,
      "943fb4b93d8dd8040b16aa25a0916255",
      "057486e09ad28c726f5aeb45c65ef009" },
    { "aes", "ctr", "plain", NULL, 16,
      "f5cb5322ae2c88e674920352869fbc11",
      "05769bac70d66f68f14ffdfc7acb2b09" },
    { "aes", "cbc", "plain64", NULL, 16,
      "09148ca436dd06f9a5970920d1a26d5d",
      "99d148c94aa36f7bc4b70a4667eb9928" },
    { "aes", "ctr", "plain64", NULL, 16,
      "1402b6a4c67bc04ad69816fc82306334",
      "5ba060240e263ad026dfdccf4a99d013" },
    { "aes", "cbc", "essiv", "sha256", 16,
      "db2253252e6857f188608f827d7d3510",
      "8be256f580399519afa45455a3b37d62" },
    { "aes", "ctr", "essiv", "sha256", 16,
      "32bbed18dafd0057f0e5d685785786d6",
      "d1a62c8157cbf51b7b25dbcf62f1c9dc" },
    { "aes", "ecb", NULL, NULL, 24,
      "6cefd86a6242ad26dc53ace64f13b8e1",
      "cf9b129c9a47a2201baec0a81b8bcffc" },
    { "aes", "cbc", "plain", NULL, 24,
      "42d86ffab3aa3b998c36959bf0466176",
      "a3b5bc5b1ca373e941185c0d4759abcf" },
    { "aes", "ctr", "plain", NULL, 24,
      "f4f8b8d8807de03ea2ab19d834342c12",
      "04a8d0cf9df3871e9c2d4fd4c5defb61" },
    { "aes", "cbc", "plain64", NULL, 24,
      "775f04d44af08ace816227c053f14c07",
      "4f76c9228e85aaa20ac360b31deef062" },
    { "aes", "ctr", "plain64", NULL, 24,
      "506761a3210d1ac16a0fef336208a522",
      "6a459295510287ec46e26dae312848f2" },
    { "aes", "cbc", "essiv", "sha256", 24,
      "d37557eca780f28117d440b3561966c4",
      "db583e9704936f1a08047acf6b97088f" },
    { "aes", "ctr", "essiv", "sha256", 24,
      "a852cc9451acc5f2832f8d69a3f6c51b",
      "2e346fb443ef7955d243ebfbac172c8e" },
    { "aes", "ecb", NULL, NULL, 32,
      "899707e6cf06c65590420456f4a55a9a",
      "c5444e0cc73787a3bcec793aa415bffb" },
    { "aes", "cbc", "plain", NULL, 32,
      "bd6d905e6b1d9ddd2c60bac9de6d62d7",
      "26775aafc357983ac7d109e5bdf3970a" },
    { "aes", "ctr", "plain", NULL, 32,
      "fb8372bbfe1a59c7bfa559dda9f51527",
      "690230f32da3b5933b9dbda0b0acf252" },
    { "aes", "cbc", "plain64", NULL, 32,
      "f61334700ec58644ea13cd05d1792fde",
      "7808b81ebe48b6e1d06bbb34ffa51493" },
    { "aes", "ctr", "plain64", NULL, 32,
      "9a43d7ab4dfed4edba87b19de18812a4",
      "5aae2b68376ae13b4d7f9cb207f59259" },
    { "aes", "cbc", "essiv", "sha256", 32,
      "9c9aa1c3bb4cf5fbcb19bcc11f3039a2",
      "d205e0fe8ff96a306e355630ee857073" },
    { "aes", "ctr", "essiv", "sha256", 32,
      "fbf6b154a6f5181af0ceed442079c4a5",
      "c6e55350619b0f9d438ed0c6d399ec7f" },
    { "aes", "cbc", "essiv", "md5", 16,
      "615e3c56bf88f640a915dabd37c94a48",
      "fa2b7bd4c269727577a807455169d8e1" },
    { "aes", "xts", "plain", NULL, 32,
      "8f96923020bec167a4e6c7af239e3cfb",
      "93665d130ba78ae8af2b39269dddf10f" },
    { "aes", "xts", "plain64", NULL, 32,
      "5b68eb39a9985e850f626662e9348bd2",
      "a96b31aaa0f0c87cefc7f88b59d9b57f" },
    { "aes", "xts", "essiv", "sha256", 32,
      "02239bbde5c184b1fae2b924469750f3",
      "390292a1b67456901944ea1caf0ad12f" },
    { "aes", "xts", "plain", NULL, 64,
      "7a40ce97cd07948bc8ea0df385391399",
      "ebda2cda7c00126930283f11439c2ca8" },
    { "aes", "xts", "plain64", NULL, 64,
      "0215036128090d95fd939b83dd8aa4b2",
      "38f3520587effe90a9430117ef4a3b1e" },
    { "aes", "xts", "essiv", "sha256", 64,
      "5bc558336820bfc65a91fe17b7972c20",
      "85d2dbfc11012ab44613e79144b0efca" },
    { "cast5", "ecb", NULL, NULL, 16,
      "a7e1605f0935009b1bdaacbadfd7c072",
      "d844ad0c667c69372855203b5b49237e" },
    { "cast5", "cbc", "plain", NULL, 16,
      "3cefa452a23616ec848d2b093a2559c3",
      "e9b88ff43924548f10e9a5031e10a256" },
    { "cast5", "cbc", "plain64", NULL, 16,
      "9d23cdd3c27729db53a6be6b8e4f19cf",
      "677621b9c25701aea5801069936cb62e" },
    { "cast5", "cbc", "essiv", "md5", 16,
      "b8253eec7286095d02157a5d622c989d",
      "ff0960e073ec8126e282975374ce7f43" },
};
/* clang-format on */

#define VECTOR_COUNT (sizeof(vectors) / sizeof(vectors[0]))

static struct sector_cipher *vector_cipher(const struct vector *vector)
{
    const struct cipher_spec spec = { vector->cipher, vector->mode,
                                      vector->ivgen, vector->ivgen_hash };
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };
    uint8_t key[64];

    fill_key(key, sizeof(key));
    if (sector_cipher_new(&spec, key, vector->key_bytes, &cipher, &err) < 0)
        fail_msg("%s-%s-%s: %s", vector->cipher, vector->mode,
                 vector->ivgen != NULL ? vector->ivgen : "", err.message);
    return cipher;
}

static void test_vectors(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();

    for (size_t i = 0; i < VECTOR_COUNT; i++) {
        struct sector_cipher *cipher = vector_cipher(&vectors[i]);
        uint8_t plain[BUFFER_BYTES];
        uint8_t buf[BUFFER_BYTES];

        fill_plain(plain, sizeof(plain));
        memcpy(buf, plain, sizeof(buf));
        assert_int_equal(
            sector_cipher_encrypt(cipher, SECTOR, buf, sizeof(buf), NULL),
            BYRE_OK);
        assert_hex(buf, EDGE_BYTES, vectors[i].first);
        assert_hex(buf + sizeof(buf) - EDGE_BYTES, EDGE_BYTES, vectors[i].last);
        assert_int_equal(
            sector_cipher_decrypt(cipher, SECTOR, buf, sizeof(buf), NULL),
            BYRE_OK);
        assert_memory_equal(buf, plain, sizeof(buf));
        sector_cipher_free(cipher);
    }
}

/* Sectors are independent: any piece decrypts by its own number. */
static void test_pieces(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();

    for (size_t i = 0; i < VECTOR_COUNT; i++) {
        struct sector_cipher *cipher = vector_cipher(&vectors[i]);
        uint8_t plain[BUFFER_BYTES];
        uint8_t buf[BUFFER_BYTES];
        uint8_t *second = buf + CIPHER_SECTOR_BYTES;

        fill_plain(plain, sizeof(plain));
        memcpy(buf, plain, sizeof(buf));
        assert_int_equal(
            sector_cipher_encrypt(cipher, SECTOR, buf, sizeof(buf), NULL),
            BYRE_OK);
        assert_int_equal(sector_cipher_decrypt(cipher, SECTOR + 1, second,
                                               CIPHER_SECTOR_BYTES, NULL),
                         BYRE_OK);
        assert_memory_equal(second, plain + CIPHER_SECTOR_BYTES,
                            CIPHER_SECTOR_BYTES);
        assert_int_equal(sector_cipher_decrypt(cipher, SECTOR, buf,
                                               CIPHER_SECTOR_BYTES, NULL),
                         BYRE_OK);
        assert_memory_equal(buf, plain, sizeof(buf));
        sector_cipher_free(cipher);
    }
}

/* An IV generator named beside ecb changes nothing. */
static void test_ecb_ignores_ivgen(void **state)
{
    const struct cipher_spec bare = { "aes", "ecb", "", "" };
    const struct cipher_spec named = { "aes", "ecb", "plain64", NULL };
    struct sector_cipher *a = NULL;
    struct sector_cipher *b = NULL;
    uint8_t key[32];
    uint8_t buf[CIPHER_SECTOR_BYTES];
    uint8_t plain[CIPHER_SECTOR_BYTES];

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    fill_key(key, sizeof(key));
    fill_plain(plain, sizeof(plain));
    memcpy(buf, plain, sizeof(buf));
    assert_int_equal(sector_cipher_new(&bare, key, 32, &a, NULL), BYRE_OK);
    assert_int_equal(sector_cipher_new(&named, key, 32, &b, NULL), BYRE_OK);
    assert_int_equal(sector_cipher_encrypt(a, 1, buf, sizeof(buf), NULL), 0);
    assert_int_equal(sector_cipher_decrypt(b, 2, buf, sizeof(buf), NULL), 0);
    assert_memory_equal(buf, plain, sizeof(buf));
    sector_cipher_free(a);
    sector_cipher_free(b);
}

/* The key is the passphrase, padded or cut to 16 bytes: AES-128, not 256. */
static void test_legacy_aes(void **state)
{
    static const struct {
        const char *passphrase;
        const char *first;
        const char *last;
    } cases[] = {
        { "secret", "70426b74b8b69462427c7836c3739341",
          "fdbec510ad57ffb92bc5ae33a89ba257" },
        { "a passphrase longer than sixteen bytes",
          "674a826a31a202f641f52c7e23197ae8",
          "9240f5e39e459132d30cd3c4b54775a8" },
    };

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *passphrase = cases[i].passphrase;
        struct sector_cipher *cipher = NULL;
        uint8_t buf[CIPHER_SECTOR_BYTES];

        fill_plain(buf, sizeof(buf));
        assert_int_equal(sector_cipher_new_aes(passphrase, strlen(passphrase),
                                               &cipher, NULL),
                         BYRE_OK);
        assert_int_equal(
            sector_cipher_encrypt(cipher, SECTOR, buf, sizeof(buf), NULL),
            BYRE_OK);
        assert_hex(buf, EDGE_BYTES, cases[i].first);
        assert_hex(buf + sizeof(buf) - EDGE_BYTES, EDGE_BYTES, cases[i].last);
        sector_cipher_free(cipher);
    }
}

/* An empty passphrase is a key of zeroes, as QEMU has it. */
static void test_legacy_aes_empty(void **state)
{
    struct sector_cipher *empty = NULL;
    struct sector_cipher *zeroes = NULL;
    uint8_t buf[CIPHER_SECTOR_BYTES] = { 1 };
    uint8_t want[CIPHER_SECTOR_BYTES] = { 1 };

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    assert_int_equal(sector_cipher_new_aes(NULL, 0, &empty, NULL), BYRE_OK);
    assert_int_equal(sector_cipher_new_aes("\0\0", 2, &zeroes, NULL), BYRE_OK);
    sector_cipher_encrypt(empty, 0, buf, sizeof(buf), NULL);
    sector_cipher_encrypt(zeroes, 0, want, sizeof(want), NULL);
    assert_memory_equal(buf, want, sizeof(buf));
    assert_int_not_equal(buf[0], 1);
    sector_cipher_free(empty);
    sector_cipher_free(zeroes);
}

/* clang-format off */
static const struct {
    const char *cipher, *mode, *ivgen, *ivgen_hash;
    size_t key_bytes;
    int code;
    const char *message; /* a part of it */
} refusals[] = {
    { "des", "cbc", "plain", NULL, 16, BYRE_E_CORRUPT, "cipher \"des\"" },
    { "", "cbc", "plain", NULL, 16, BYRE_E_CORRUPT, "cipher \"\"" },
    { "aes", "ofb", "plain", NULL, 16, BYRE_E_CORRUPT, "mode \"ofb\"" },
    { "aes", "", "plain", NULL, 16, BYRE_E_CORRUPT, "mode \"\"" },
    { "aes", "cbc", "plain32", NULL, 16, BYRE_E_CORRUPT, "\"plain32\"" },
    { "aes", "ecb", "benbi", NULL, 16, BYRE_E_CORRUPT, "\"benbi\"" },
    { "aes", "cbc", NULL, NULL, 16, BYRE_E_CORRUPT, "needs an IV generator" },
    { "aes", "xts", "", NULL, 32, BYRE_E_CORRUPT, "needs an IV generator" },
    { "aes", "cbc", "essiv", NULL, 16, BYRE_E_CORRUPT, "needs a hash" },
    { "aes", "cbc", "essiv", "", 16, BYRE_E_CORRUPT, "needs a hash" },
    { "aes", "cbc", "essiv", "tiger", 16, BYRE_E_CORRUPT, "\"tiger\"" },
    { "aes", "cbc", "essiv", "sha1", 16, BYRE_E_CORRUPT, "essiv:sha1 makes keys of 20" },
    { "aes", "cbc", "essiv", "sha512", 32, BYRE_E_CORRUPT, "essiv:sha512 makes keys of 64" },
    { "cast5", "cbc", "essiv", "sha256", 16, BYRE_E_CORRUPT, "essiv:sha256 makes keys of 32" },
    { "aes", "cbc", "plain", NULL, 0, BYRE_E_CORRUPT, "key of 0 bytes does not fit cipher aes-cbc, which takes 16, 24 or 32" },
    { "aes", "cbc", "plain", NULL, 17, BYRE_E_CORRUPT, "key of 17 bytes" },
    { "aes", "cbc", "plain", NULL, 64, BYRE_E_CORRUPT, "key of 64 bytes" },
    { "aes", "xts", "plain", NULL, 16, BYRE_E_CORRUPT, "takes 32, 48 or 64" },
    { "aes", "xts", "plain", NULL, 33, BYRE_E_CORRUPT, "key of 33 bytes" },
    { "cast5", "cbc", "plain", NULL, 32, BYRE_E_CORRUPT, "which takes 16" },
    { "cast5", "xts", "plain", NULL, 32, BYRE_E_CORRUPT, "mode xts needs 16" },
    { "serpent", "cbc", "plain", NULL, 20, BYRE_E_CORRUPT, "key of 20 bytes" },
    { "serpent", "xts", "plain64", NULL, 64, BYRE_E_UNSUPPORTED, "serpent" },
    { "twofish", "cbc", "essiv", "sha256", 16, BYRE_E_UNSUPPORTED, "twofish" },
    { "cast6", "cbc", "plain", NULL, 16, BYRE_E_UNSUPPORTED, "cast6" },
    { "aes", "xts", "plain64", NULL, 48, BYRE_E_UNSUPPORTED, "aes-192 in mode xts" },
    { "cast5", "ctr", "plain", NULL, 16, BYRE_E_UNSUPPORTED, "cast5-128 in mode ctr" },
};
/* clang-format on */

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct cipher_spec spec = { refusals[i].cipher, refusals[i].mode,
                                          refusals[i].ivgen,
                                          refusals[i].ivgen_hash };
        struct sector_cipher *const untouched = (struct sector_cipher *)state;
        struct sector_cipher *cipher = untouched;
        struct byre_error err = { 0 };
        const uint8_t key[64] = { 1 };
        const int r =
            sector_cipher_new(&spec, key, refusals[i].key_bytes, &cipher, &err);

        assert_ptr_equal(cipher, untouched);
        assert_int_equal(err.code, r);
        if (!BYRE_HAVE_CRYPTO) {
            assert_int_equal(r, BYRE_E_UNSUPPORTED);
            assert_string_equal(err.message,
                                "this build has no libcrypto, which encrypted "
                                "images and checksums need");
            continue;
        }
        if (strstr(err.message, refusals[i].message) == NULL)
            fail_msg("case %zu: \"%s\"", i, err.message);
        assert_int_equal(r, refusals[i].code);
    }
}

static void test_length(void **state)
{
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };
    uint8_t buf[CIPHER_SECTOR_BYTES + 1] = { 0 };

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    assert_int_equal(sector_cipher_new_aes("x", 1, &cipher, NULL), BYRE_OK);
    assert_int_equal(sector_cipher_decrypt(cipher, 0, buf, sizeof(buf), &err),
                     BYRE_E_INVALID);
    assert_int_equal(sector_cipher_decrypt(cipher, 0, buf, 0, &err), BYRE_OK);
    sector_cipher_free(cipher);
    sector_cipher_free(NULL);
}

/*
 * libcrypto does not encrypt with such a key, but an image that was made with
 * it must read; and refusing once must not spoil the cipher.
 */
static void test_xts_equal_halves(void **state)
{
    const struct cipher_spec spec = { "aes", "xts", "plain64", NULL };
    const uint8_t key[64] = { 0 };
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };
    uint8_t buf[CIPHER_SECTOR_BYTES] = { 0 };
    int r;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    assert_int_equal(sector_cipher_new(&spec, key, sizeof(key), &cipher, NULL),
                     BYRE_OK);
    r = sector_cipher_encrypt(cipher, 0, buf, sizeof(buf), &err);
    if (r < 0) {
        assert_int_equal(r, BYRE_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "refuses the key for encryption"));
    }
    assert_int_equal(sector_cipher_decrypt(cipher, 0, buf, sizeof(buf), NULL),
                     BYRE_OK);
    sector_cipher_free(cipher);
}

#if BYRE_HAVE_CRYPTO
/*
 * The program around the library keeps its libcrypto as it was: no provider
 * more, and no errors left behind, its own kept.
 */
static void test_host_untouched(void **state)
{
    const struct cipher_spec cast5 = { "cast5", "cbc", "plain", NULL };
    const struct cipher_spec absent = { "cast5", "ctr", "plain", NULL };
    const uint8_t key[16] = { 1 };
    struct sector_cipher *cipher = NULL;

    (void)state;
    ERR_clear_error();
    ERR_raise(ERR_LIB_USER, 42);
    assert_int_equal(sector_cipher_new(&cast5, key, sizeof(key), &cipher, NULL),
                     BYRE_OK);
    assert_int_equal(OSSL_PROVIDER_available(NULL, "legacy"), 0);
    sector_cipher_free(cipher);
    assert_int_equal(
        sector_cipher_new(&absent, key, sizeof(key), &cipher, NULL),
        BYRE_E_UNSUPPORTED);
    assert_int_equal(ERR_GET_REASON(ERR_get_error()), 42);
    assert_int_equal(ERR_get_error(), 0);
}
#else
static void test_host_untouched(void **state)
{
    (void)state;
    skip();
}
#endif

#define THREADS        4
#define THREAD_ROUNDS  50
#define THREAD_SECTORS 16

struct share {
    struct sector_cipher *cipher;
    const uint8_t *text; /* THREAD_SECTORS of cipher text */
};

/* Returns NULL if every round decrypts right, and encrypts back. */
static void *cipher_rounds(void *argument)
{
    const struct share *share = argument;
    static const char wrong[] = "wrong";
    uint8_t plain[THREAD_SECTORS * CIPHER_SECTOR_BYTES];
    uint8_t buf[THREAD_SECTORS * CIPHER_SECTOR_BYTES];

    fill_plain(plain, sizeof(plain));
    for (size_t round = 0; round < THREAD_ROUNDS; round++) {
        const size_t first = round % THREAD_SECTORS;
        const size_t offset = first * CIPHER_SECTOR_BYTES;
        const size_t length = sizeof(buf) - offset;

        memcpy(buf, share->text + offset, length);
        if (sector_cipher_decrypt(share->cipher, SECTOR + first, buf, length,
                                  NULL) < 0 ||
            memcmp(buf, plain + offset, length) != 0)
            return (void *)(uintptr_t)wrong;
        if (sector_cipher_encrypt(share->cipher, SECTOR + first, buf, length,
                                  NULL) < 0 ||
            memcmp(buf, share->text + offset, length) != 0)
            return (void *)(uintptr_t)wrong;
    }
    return NULL;
}

/* One cipher, many threads: each needs libcrypto contexts of its own. */
static void test_threads(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();

    for (size_t i = 0; i < VECTOR_COUNT; i++) {
        uint8_t text[THREAD_SECTORS * CIPHER_SECTOR_BYTES];
        const struct share share = { vector_cipher(&vectors[i]), text };
        pthread_t threads[THREADS];

        fill_plain(text, sizeof(text));
        assert_int_equal(sector_cipher_encrypt(share.cipher, SECTOR, text,
                                               sizeof(text), NULL),
                         BYRE_OK);
        for (size_t t = 0; t < THREADS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, cipher_rounds,
                                            (void *)(uintptr_t)&share),
                             0);
        for (size_t t = 0; t < THREADS; t++) {
            void *result;

            assert_int_equal(pthread_join(threads[t], &result), 0);
            assert_null(result);
        }
        sector_cipher_free(share.cipher);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_ecb_ignores_ivgen),
        cmocka_unit_test(test_legacy_aes),
        cmocka_unit_test(test_legacy_aes_empty),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_xts_equal_halves),
        cmocka_unit_test(test_host_untouched),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
