/* SPDX-License-Identifier: MIT */
/*
 * Without these tests a hash or key derivation could go wrong, and no
 * passphrase would open a LUKS image any more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "crypto/hash.h"

static void assert_hex(const uint8_t *bytes, size_t length, const char *want)
{
    char text[2 * HASH_MAX_BYTES + 1];

    assert_true(length <= HASH_MAX_BYTES);
    for (size_t i = 0; i < length; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, want);
}

/*
 * Of "abc", as the standards of the hashes print it; and PBKDF2 of "passphrase"
 * with the salt 00 01 ... 1f and 1000 iterations to 64 bytes, from Python's
 * hashlib.
 */
/* clang-format off */
static const struct {
    const char *hash;
    size_t digest_bytes;
    const char *digest;
    const char *derived;
} hashes[] = {
    { "md5", 16,
      "900150983cd24fb0d6963f7d28e17f72",
      "8fc80ccfd9309d37694c5545fa304d3c091c0322d4d016779008941056295a58"
      "b27955fab6960e7ff6ea0c97e2498c2d765e1107cbe5e23648284aee65bc1915" },
    { "sha1", 20,
      "a9993e364706816aba3e25717850c26c9cd0d89d",
      "bbec92b9efcf55182d0172f4d1897770a797579d28ebc7d7e4a64355c91aaf98"
      "16356bb22e234dd29e41e7aec4fd0dca411281d5d0955d563ba6747023662c3a" },
    { "sha224", 28,
      "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
      "140ea0f6c8729d958c0ac2f295f4d8bb2e0b061a5cd5a73097e99a4aa5f91d6f"
      "3100c34c3c2ee20712f3055f65ae64bb897859505431857c766264e6d3e587b6" },
    { "sha256", 32,
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      "8dc79d6e47442ff3b672691bdf7e9e5d5cb7aa431aaea60a48c1ec4c98bb3bd4"
      "a186ba55f7af54c63ae78717efe81aed533a27a014ba7ff80a06fa387446b83e" },
    { "sha384", 48,
      "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
      "8086072ba1e7cc2358baeca134c825a7",
      "f2d0eb91fbb717c2adb49dae8af67d4390340038d10e3c79fe138a67cf834386"
      "2766986badede1a2ef311bda81580c6fef54838a09e174618302276851d22aee" },
    { "sha512", 64,
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
      "fda79ecf95fb5e2221a4e21bff354892369876e343a51b1ed33a201860688b1c"
      "e97f7486c275751b1048d857870bad09689047475163deb9c53ec90b7fc62d02" },
    { "ripemd160", 20,
      "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
      "889492199b48fbb44cfc93b6d075e7f7b8fec106c1baa5a3c37b34c1d706cf08"
      "23e3968b1135568cecc5dbb77a7c83ff88f5b48336a36a56da9053bad7fc9a29" },
};
/* clang-format on */

#define HASH_COUNT (sizeof(hashes) / sizeof(hashes[0]))

static void test_digest_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < HASH_COUNT; i++) {
        size_t bytes = 0;

        assert_int_equal(hash_digest_bytes(hashes[i].hash, &bytes, NULL),
                         BYRE_OK);
        assert_int_equal(bytes, hashes[i].digest_bytes);
    }
}

static void test_run(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < HASH_COUNT; i++) {
        uint8_t digest[HASH_MAX_BYTES];

        assert_int_equal(hash_run(hashes[i].hash, "abc", 3, digest, NULL),
                         BYRE_OK);
        assert_hex(digest, hashes[i].digest_bytes, hashes[i].digest);
    }
}

/* A hasher gives the same again, and puts the prefix in front. */
static void test_hasher(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < HASH_COUNT; i++) {
        struct hasher *hasher = NULL;
        uint8_t digest[HASH_MAX_BYTES];

        assert_int_equal(hasher_new(hashes[i].hash, &hasher, NULL), BYRE_OK);
        for (size_t round = 0; round < 3; round++) {
            assert_int_equal(hasher_run(hasher, "abc", round, &"abc"[round],
                                        3 - round, digest, NULL),
                             BYRE_OK);
            assert_hex(digest, hashes[i].digest_bytes, hashes[i].digest);
        }
        hasher_free(hasher);
    }
    hasher_free(NULL);
}

static void test_pbkdf2(void **state)
{
    uint8_t salt[32];

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(salt); i++)
        salt[i] = (uint8_t)i;
    for (size_t i = 0; i < HASH_COUNT; i++) {
        uint8_t key[64];

        assert_int_equal(hash_pbkdf2(hashes[i].hash, "passphrase", 10, salt,
                                     sizeof(salt), 1000, key, sizeof(key),
                                     NULL),
                         BYRE_OK);
        assert_hex(key, sizeof(key), hashes[i].derived);
    }
}

/*
 * RFC 6070 (sha1) and RFC 7914 section 11 (sha256): one iteration, short salts,
 * embedded zeroes, keys that are not a multiple of the digest.
 */
/* clang-format off */
static const struct {
    const char *hash, *passphrase;
    size_t passphrase_bytes;
    const char *salt;
    size_t salt_bytes;
    uint32_t iterations;
    size_t key_bytes;
    const char *key;
} rfc[] = {
    { "sha1", "password", 8, "salt", 4, 1, 20,
      "0c60c80f961f0e71f3a9b524af6012062fe037a6" },
    { "sha1", "password", 8, "salt", 4, 2, 20,
      "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957" },
    { "sha1", "password", 8, "salt", 4, 4096, 20,
      "4b007901b765489abead49d926f721d065a429c1" },
    { "sha1", "passwordPASSWORDpassword", 24,
      "saltSALTsaltSALTsaltSALTsaltSALTsalt", 36, 4096, 25,
      "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038" },
    { "sha1", "pass\0word", 9, "sa\0lt", 5, 4096, 16,
      "56fa6aa75548099dcc37d7f03425e0c3" },
    { "sha256", "passwd", 6, "salt", 4, 1, 64,
      "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
      "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783" },
    { "sha256", "Password", 8, "NaCl", 4, 80000, 64,
      "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
      "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d" },
};
/* clang-format on */

static void test_pbkdf2_rfc(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(rfc) / sizeof(rfc[0]); i++) {
        uint8_t key[64];

        assert_int_equal(hash_pbkdf2(rfc[i].hash, rfc[i].passphrase,
                                     rfc[i].passphrase_bytes, rfc[i].salt,
                                     rfc[i].salt_bytes, rfc[i].iterations, key,
                                     rfc[i].key_bytes, NULL),
                         BYRE_OK);
        assert_hex(key, rfc[i].key_bytes, rfc[i].key);
    }
}

/* An empty passphrase is a passphrase. */
static void test_pbkdf2_empty(void **state)
{
    uint8_t key[20];

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    assert_int_equal(
        hash_pbkdf2("sha1", NULL, 0, "salt", 4, 2, key, sizeof(key), NULL),
        BYRE_OK);
    assert_hex(key, sizeof(key), "133a4ce837b4d2521ee2bf03e11c71ca794e0797");
}

static void test_unknown(void **state)
{
    static const char *const names[] = { "", "sha", "SHA256", "sha3-256",
                                         "whirlpool" };
    size_t bytes = 7;
    uint8_t digest[HASH_MAX_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const int want = BYRE_HAVE_CRYPTO ? BYRE_E_CORRUPT : BYRE_E_UNSUPPORTED;
        struct byre_error err = { 0 };

        assert_int_equal(hash_digest_bytes(names[i], &bytes, &err),
                         BYRE_E_CORRUPT);
        assert_non_null(strstr(err.message, names[i]));
        assert_non_null(strstr(err.message, "ripemd160"));
        assert_int_equal(bytes, 7);
        assert_int_equal(hash_run(names[i], "", 0, digest, &err), want);
        assert_int_equal(
            hash_pbkdf2(names[i], "", 0, "", 0, 1, digest, 16, &err), want);
    }
}

static void test_no_iterations(void **state)
{
    uint8_t key[16];

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    assert_int_equal(
        hash_pbkdf2("sha1", "a", 1, "b", 1, 0, key, sizeof(key), NULL),
        BYRE_E_INVALID);
}

static void test_secrets(void **state)
{
    const uint8_t zeroes[8] = { 0 };
    uint8_t a[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    uint8_t b[8] = { 1, 2, 3, 4, 5, 6, 7, 0 };

    (void)state;
    assert_true(secret_equal(a, a, sizeof(a)));
    assert_false(secret_equal(a, b, sizeof(a)));
    assert_true(secret_equal(a, b, 7));
    assert_true(secret_equal(a, b, 0));
    secret_wipe(a, 4);
    assert_memory_equal(a, zeroes, 4);
    assert_int_equal(a[4], 5);
    secret_wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_bytes),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_hasher),
        cmocka_unit_test(test_pbkdf2),
        cmocka_unit_test(test_pbkdf2_rfc),
        cmocka_unit_test(test_pbkdf2_empty),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_no_iterations),
        cmocka_unit_test(test_secrets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
