/* SPDX-License-Identifier: MIT */
/*
 * Without these tests a new LUKS image could be made that nobody opens, or that
 * anybody opens: with keys that repeat, too few iterations, or the master key
 * left in the open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc_fault.h"
#include "config.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"
#include "crypto/random.h"

#define SECTOR_BYTES 512
#define UNTOUCHED    0xa5

struct made {
    uint8_t *area;
    size_t length;
    struct sector_cipher *cipher;
    struct luks1_header header; /* decoded from the area */
};

/* Makes an area by `choice`; its failure is the test's. */
static struct made make(const struct luks1_choice *choice, uint64_t seed,
                        const char *passphrase)
{
    struct made made = { 0 };
    struct random_source random;
    struct byre_error err = { 0 };
    uint64_t area_bytes = 0;

    if (luks1_choice_check(choice, &area_bytes, &err) < 0)
        fail_msg("%s", err.message);
    made.length = (size_t)area_bytes;
    made.area = malloc(made.length);
    assert_non_null(made.area);
    memset(made.area, UNTOUCHED, made.length);

    random_source_init(&random, seed);
    if (luks1_make(choice, &random, passphrase, strlen(passphrase), made.area,
                   &made.cipher, &err) < 0)
        fail_msg("%s", err.message);
    if (luks1_header_decode(made.area, made.length, made.length, &made.header,
                            &err) < 0)
        fail_msg("%s", err.message);
    return made;
}

static void made_done(struct made *made)
{
    sector_cipher_free(made->cipher);
    free(made->area);
}

static int read_area(void *user, uint64_t offset, void *buf, size_t length,
                     struct byre_error *err)
{
    const struct made *made = user;

    (void)err;
    assert_true(offset <= made->length && length <= made->length - offset);
    memcpy(buf, made->area + offset, length);
    return BYRE_OK;
}

static int unlock(struct made *made, const char *passphrase,
                  struct sector_cipher **ret_cipher, struct byre_error *err)
{
    return luks1_unlock(&made->header, read_area, made, passphrase,
                        strlen(passphrase), UINT64_MAX, ret_cipher, err);
}

/* What the cipher from making encrypts, the one from unlocking decrypts. */
static void assert_opens(struct made *made, const char *passphrase)
{
    struct sector_cipher *unlocked = NULL;
    struct byre_error err = { 0 };
    uint8_t plain[2 * SECTOR_BYTES];
    uint8_t buf[2 * SECTOR_BYTES];

    if (unlock(made, passphrase, &unlocked, &err) < 0)
        fail_msg("%s-%s: %s", made->header.cipher_name,
                 made->header.cipher_mode, err.message);
    memset(plain, 0x77, sizeof(plain));
    memcpy(buf, plain, sizeof(buf));
    assert_int_equal(
        sector_cipher_encrypt(made->cipher, 9, buf, sizeof(buf), NULL), 0);
    assert_memory_not_equal(buf, plain, sizeof(buf));
    assert_int_equal(sector_cipher_decrypt(unlocked, 9, buf, sizeof(buf), NULL),
                     0);
    assert_memory_equal(buf, plain, sizeof(buf));
    sector_cipher_free(unlocked);
}

/* ---- What can be made ---- */

/* clang-format off */
static const struct {
    const char *alg, *mode, *ivgen, *ivgen_hash, *hash;
    const char *want_name, *want_mode, *want_hash;
    uint32_t want_key_bytes;
} rows[] = {
    { NULL, NULL, NULL, NULL, NULL, "aes", "xts-plain64", "sha256", 64 },
    { NULL, NULL, NULL, NULL, "md5", "aes", "xts-plain64", "md5", 64 },
    { NULL, NULL, NULL, NULL, "sha1", "aes", "xts-plain64", "sha1", 64 },
    { NULL, NULL, NULL, NULL, "sha224", "aes", "xts-plain64", "sha224", 64 },
    { NULL, NULL, NULL, NULL, "sha384", "aes", "xts-plain64", "sha384", 64 },
    { NULL, NULL, NULL, NULL, "sha512", "aes", "xts-plain64", "sha512", 64 },
    { NULL, NULL, NULL, NULL, "ripemd160", "aes", "xts-plain64", "ripemd160", 64 },
    { NULL, NULL, "plain", NULL, NULL, "aes", "xts-plain", "sha256", 64 },
    { NULL, NULL, "essiv", NULL, NULL, "aes", "xts-essiv:sha256", "sha256", 64 },
    { "aes-128", NULL, NULL, NULL, NULL, "aes", "xts-plain64", "sha256", 32 },
    { "aes-128", "xts", "essiv", "md5", NULL, "aes", "xts-essiv:md5", "sha256", 32 },
    { "aes-256", "cbc", NULL, NULL, NULL, "aes", "cbc-plain64", "sha256", 32 },
    { "aes-256", "cbc", "plain", NULL, "sha1", "aes", "cbc-plain", "sha1", 32 },
    { "aes-256", "cbc", "essiv", NULL, NULL, "aes", "cbc-essiv:sha256", "sha256", 32 },
    { "aes-128", "cbc", "essiv", "sha256", NULL, "aes", "cbc-essiv:sha256", "sha256", 16 },
    { "aes-128", "cbc", "plain64", "sha1", NULL, "aes", "cbc-plain64:sha1", "sha256", 16 },
    { "aes-128", "ctr", NULL, NULL, NULL, "aes", "ctr-plain64", "sha256", 16 },
    { "aes-256", "ctr", "plain", NULL, NULL, "aes", "ctr-plain", "sha256", 32 },
    { "aes-256", "ctr", "essiv", NULL, "sha512", "aes", "ctr-essiv:sha256", "sha512", 32 },
    { "aes-256", "ecb", NULL, NULL, NULL, "aes", "ecb-plain64", "sha256", 32 },
    { "aes-128", "ecb", "essiv", NULL, NULL, "aes", "ecb-essiv:sha256", "sha256", 16 },
    { "cast5-128", "cbc", NULL, NULL, NULL, "cast5", "cbc-plain64", "sha256", 16 },
    { "cast5-128", "cbc", "plain", NULL, NULL, "cast5", "cbc-plain", "sha256", 16 },
    { "cast5-128", "cbc", "essiv", "md5", NULL, "cast5", "cbc-essiv:md5", "sha256", 16 },
    { "cast5-128", "ecb", NULL, NULL, NULL, "cast5", "ecb-plain64", "sha256", 16 },
};
/* clang-format on */

static void test_round_trips(void **state)
{
    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct luks1_choice choice = { rows[i].alg,   rows[i].mode,
                                             rows[i].ivgen, rows[i].ivgen_hash,
                                             rows[i].hash,  0,
                                             1000 };
        struct made made = make(&choice, 0, "open sesame");

        assert_string_equal(made.header.cipher_name, rows[i].want_name);
        assert_string_equal(made.header.cipher_mode, rows[i].want_mode);
        assert_string_equal(made.header.hash, rows[i].want_hash);
        assert_int_equal(made.header.key_bytes, rows[i].want_key_bytes);
        assert_opens(&made, "open sesame");
        made_done(&made);
    }
}

/* clang-format off */
static const struct {
    const char *alg, *mode, *ivgen, *ivgen_hash, *hash;
    int code;
    const char *message; /* a part of it */
} refusals[] = {
    { "des", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "cipher \"des\" is not one of" },
    { "aes", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "cipher \"aes\"" },
    { "aes-0", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "cipher \"aes-0\"" },
    { "aes-512", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "cipher \"aes-512\"" },
    { "cast5-0", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "cipher \"cast5-0\"" },
    { "", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "cipher \"\"" },
    { NULL, "ofb", NULL, NULL, NULL, BYRE_E_INVALID, "mode \"ofb\"" },
    { NULL, "", NULL, NULL, NULL, BYRE_E_INVALID, "mode \"\"" },
    { NULL, NULL, "benbi", NULL, NULL, BYRE_E_INVALID, "generator \"benbi\"" },
    { NULL, "ecb", "", NULL, NULL, BYRE_E_INVALID, "generator \"\"" },
    { NULL, NULL, NULL, NULL, "tiger", BYRE_E_INVALID, "hash \"tiger\"" },
    { NULL, NULL, NULL, NULL, "", BYRE_E_INVALID, "hash \"\"" },
    { NULL, NULL, "essiv", "tiger", NULL, BYRE_E_INVALID, "hash \"tiger\"" },
    { NULL, NULL, "plain", "tiger", NULL, BYRE_E_INVALID, "hash \"tiger\"" },
    { NULL, NULL, "essiv", "sha1", NULL, BYRE_E_INVALID, "essiv:sha1 makes keys of 20" },
    { "cast5-128", NULL, NULL, NULL, NULL, BYRE_E_INVALID, "mode xts needs 16" },
    { "cast5-128", "cbc", "essiv", NULL, NULL, BYRE_E_INVALID, "essiv:sha256 makes keys of 32" },
    { "cast5-128", "ctr", NULL, NULL, NULL, BYRE_E_UNSUPPORTED, "cast5-128 in mode ctr" },
    { "serpent-256", NULL, NULL, NULL, NULL, BYRE_E_UNSUPPORTED, "serpent" },
    { "twofish-192", "cbc", NULL, NULL, NULL, BYRE_E_UNSUPPORTED, "twofish" },
    { "aes-192", NULL, NULL, NULL, NULL, BYRE_E_UNSUPPORTED, "aes-192 in mode xts" },
    { "aes-192", "cbc", NULL, NULL, NULL, BYRE_E_UNSUPPORTED, "aes-192 in mode cbc has key material that ends inside a sector" },
};
/* clang-format on */

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct luks1_choice choice = { refusals[i].alg,
                                             refusals[i].mode,
                                             refusals[i].ivgen,
                                             refusals[i].ivgen_hash,
                                             refusals[i].hash,
                                             0,
                                             1000 };
        struct random_source random;
        struct byre_error err = { 0 };
        struct sector_cipher *cipher = NULL;
        uint64_t area_bytes = 77;
        uint8_t area = UNTOUCHED;
        const int r = luks1_choice_check(&choice, &area_bytes, &err);

        assert_int_equal(err.code, r);
        assert_int_equal(area_bytes, 77);
        random_source_init(&random, 1);
        assert_int_equal(
            luks1_make(&choice, &random, "x", 1, &area, &cipher, NULL), r);
        assert_int_equal(area, UNTOUCHED);
        assert_null(cipher);
        if (!BYRE_HAVE_CRYPTO) {
            assert_int_equal(r, BYRE_E_UNSUPPORTED);
            assert_string_equal(err.message,
                                "this build has no libcrypto, so encrypted "
                                "images cannot be made");
            continue;
        }
        if (strstr(err.message, refusals[i].message) == NULL)
            fail_msg("case %zu: \"%s\"", i, err.message);
        assert_int_equal(r, refusals[i].code);
    }
}

/* ---- What it looks like ---- */

/* Measured on QEMU's headers: what byre makes has the same places and states.
 */
static void test_layout(void **state)
{
    const struct luks1_choice choice = { .iterations = 1234 };
    struct made made;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    made = make(&choice, 5, "x");
    assert_int_equal(made.length, 2068480);
    assert_int_equal(made.header.payload_offset_sectors, 4040);
    assert_int_equal(made.header.digest_iterations, 1000);
    assert_true(made.header.slots[0].active);
    assert_int_equal(made.header.slots[0].iterations, 1234);
    for (uint32_t i = 0; i < LUKS1_SLOTS; i++) {
        const struct luks1_slot *slot = &made.header.slots[i];
        static const uint8_t no_salt[LUKS1_SALT_BYTES];

        assert_int_equal(slot->key_offset_sectors, 8 + 504 * i);
        assert_int_equal(slot->stripes, LUKS1_STRIPES);
        assert_int_equal(slot->active, i == 0);
        if (i > 0) {
            assert_int_equal(slot->iterations, 0);
            assert_memory_equal(slot->salt, no_salt, sizeof(no_salt));
        }
    }
    for (size_t i = LUKS1_HEADER_BYTES; i < 8 * SECTOR_BYTES; i++)
        assert_int_equal(made.area[i], 0);
    for (size_t i = (8 + 500) * SECTOR_BYTES; i < made.length; i++)
        assert_int_equal(made.area[i], 0);
    made_done(&made);
}

/* RFC 4122: random, version 4; lower case, as QEMU and cryptsetup have it. */
static void test_uuid(void **state)
{
    const struct luks1_choice choice = { .iterations = 1000 };

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct made made = make(&choice, seed, "x");
        const char *uuid = made.header.uuid;

        assert_int_equal(strlen(uuid), 36);
        for (size_t i = 0; i < 36; i++) {
            const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

            assert_non_null(
                strchr(is_dash ? "-" : "0123456789abcdef", uuid[i]));
        }
        assert_int_equal(uuid[14], '4');
        assert_non_null(strchr("89ab", uuid[19]));
        made_done(&made);
    }
}

/* ---- Passphrases ---- */

static void test_passphrases(void **state)
{
    const struct luks1_choice choice = { .cipher_mode = "cbc",
                                         .iterations = 1000 };
    struct sector_cipher *cipher = NULL;
    struct made made;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    made = make(&choice, 0, "right");
    assert_int_equal(unlock(&made, "wrong", &cipher, NULL), BYRE_E_SECRET);
    assert_int_equal(unlock(&made, "right\n", &cipher, NULL), BYRE_E_SECRET);
    assert_int_equal(unlock(&made, "", &cipher, NULL), BYRE_E_SECRET);
    assert_null(cipher);
    made_done(&made);

    made = make(&choice, 0, ""); /* as QEMU allows it */
    assert_opens(&made, "");
    assert_int_equal(unlock(&made, "x", &cipher, NULL), BYRE_E_SECRET);
    made_done(&made);

    made = make(&choice, 0,
                "gr\xc3\xbc\xc3\x9f"
                "e \xf0\x9f\x97\x9d");
    assert_opens(&made, "gr\xc3\xbc\xc3\x9f"
                        "e \xf0\x9f\x97\x9d");
    made_done(&made);
}

static void test_bad_passphrase(void **state)
{
    const struct luks1_choice choice = { .iterations = 1000 };
    struct random_source random;
    struct sector_cipher *cipher = NULL;
    struct byre_error err = { 0 };
    uint8_t area = UNTOUCHED;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    random_source_init(&random, 1);
    assert_int_equal(
        luks1_make(&choice, &random, "se\xffret", 6, &area, &cipher, &err),
        BYRE_E_INVALID);
    assert_non_null(strstr(err.message, "not UTF-8"));
    assert_null(strstr(err.message, "ret"));
    assert_int_equal(area, UNTOUCHED);
    assert_null(cipher);
}

/* ---- Repeating ---- */

/* The same seed, the same area; another seed or none, nothing in common. */
static void test_repeatable(void **state)
{
    const struct luks1_choice choice = { .iterations = 1000 };
    const uint64_t seeds[] = { 7, 7, 8, 0, 0 };
    struct made made[5];

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < 5; i++)
        made[i] = make(&choice, seeds[i], "x");
    assert_memory_equal(made[0].area, made[1].area, made[0].length);
    for (size_t i = 1; i < 5; i++) {
        for (size_t j = i + 1; j < 5; j++) {
            const struct luks1_header *a = &made[i].header;
            const struct luks1_header *b = &made[j].header;

            assert_string_not_equal(a->uuid, b->uuid);
            assert_memory_not_equal(a->digest, b->digest, LUKS1_DIGEST_BYTES);
            assert_memory_not_equal(a->digest_salt, b->digest_salt,
                                    LUKS1_SALT_BYTES);
            assert_memory_not_equal(a->slots[0].salt, b->slots[0].salt,
                                    LUKS1_SALT_BYTES);
            assert_memory_not_equal(made[i].area + 4096, made[j].area + 4096,
                                    4096);
        }
    }
    for (size_t i = 0; i < 5; i++)
        made_done(&made[i]);
}

/* ---- Iterations ---- */

static double thread_msec(void)
{
    struct timespec time;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static double derivation_msec(const struct luks1_header *header,
                              uint32_t iterations, size_t key_bytes)
{
    uint8_t key[LUKS1_MAX_KEY_BYTES];
    const double begin = thread_msec();

    assert_int_equal(hash_pbkdf2(header->hash, "x", 1, header->digest_salt,
                                 LUKS1_SALT_BYTES, iterations, key, key_bytes,
                                 NULL),
                     BYRE_OK);
    return thread_msec() - begin;
}

/* Within a factor of three, since machines are shared. */
static void test_measured(void **state)
{
    const struct luks1_choice choice = { .iter_time_msec = 160 };
    struct made made;
    double msec;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    made = make(&choice, 1, "x");
    msec = derivation_msec(&made.header, made.header.slots[0].iterations,
                           made.header.key_bytes);
    if (msec < 160.0 / 3 || msec > 160.0 * 3)
        fail_msg("a slot takes %.1f ms instead of 160", msec);
    msec = derivation_msec(&made.header, made.header.digest_iterations,
                           LUKS1_DIGEST_BYTES);
    if (msec < 20.0 / 3 || msec > 20.0 * 3)
        fail_msg("the digest takes %.1f ms instead of 20", msec);
    made_done(&made);
}

/* An eighth of the time: with 64 bytes of key, hashes count differently. */
static void test_digest_iterations(void **state)
{
    /* clang-format off */
    static const struct {
        const char *hash;
        uint32_t iterations, want;
    } cases[] = {
        { "sha256", 40000, 40000 * 2 / 8 },
        { "sha512", 40000, 40000 / 8 },
        { "sha1", 40000, 40000 * 4 / 8 },
        { "md5", 40000, 40000 * 2 / 8 }, /* the digest takes two, too */
        { "sha256", 3999, 1000 },
        { "sha256", 4008, 1002 },
    };
    /* clang-format on */

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct luks1_choice choice = {
            .hash_alg = cases[i].hash,
            .iterations = cases[i].iterations,
        };
        struct made made = make(&choice, 1, "x");

        assert_int_equal(made.header.slots[0].iterations, cases[i].iterations);
        assert_int_equal(made.header.digest_iterations, cases[i].want);
        made_done(&made);
    }
}

/* Neither 49 days nor numbers that wrap: LUKS has 32 bits to store them in. */
static void test_too_long(void **state)
{
    static const uint64_t times[] = { UINT64_C(1) << 46, UINT64_MAX };

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        const struct luks1_choice choice = { .iter_time_msec = times[i] };
        struct random_source random;
        struct sector_cipher *cipher = NULL;
        struct byre_error err = { 0 };
        uint8_t area = UNTOUCHED;

        random_source_init(&random, 1);
        assert_int_equal(
            luks1_make(&choice, &random, "x", 1, &area, &cipher, &err),
            BYRE_E_INVALID);
        assert_non_null(strstr(err.message, "more than the 4294967295"));
        assert_int_equal(area, UNTOUCHED);
    }
}

/* ---- Memory that runs out ---- */

/* Each allocation fails once: nothing leaks, and no key stays in the area. */
static void test_out_of_memory(void **state)
{
    const struct luks1_choice choice = { .cipher_alg = "aes-128",
                                         .iterations = 1000 };
    uint64_t area_bytes = 0;
    uint64_t refused = 0;
    uint8_t *area;

    (void)state;
    if (!BYRE_HAVE_CRYPTO)
        skip();
    assert_int_equal(luks1_choice_check(&choice, &area_bytes, NULL), BYRE_OK);
    area = malloc(area_bytes);
    assert_non_null(area);
    for (;;) {
        struct random_source random;
        struct sector_cipher *cipher = NULL;
        struct byre_error err = { 0 };
        bool failed;
        int r;

        random_source_init(&random, 3);
        memset(area, UNTOUCHED, area_bytes);
        alloc_fault_arm(refused + 1);
        r = luks1_make(&choice, &random, "x", 1, area, &cipher, &err);
        failed = alloc_fault_disarm();
        if (!failed) {
            assert_int_equal(r, BYRE_OK);
            sector_cipher_free(cipher);
            break;
        }
        refused++;
        assert_int_equal(r, BYRE_E_NOMEM);
        assert_null(cipher);
        assert_true(area[0] == UNTOUCHED || area[0] == 0);
        assert_memory_equal(area, area + 1, area_bytes - 1);
    }
    assert_true(refused > 5);
    free(area);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_passphrases),
        cmocka_unit_test(test_bad_passphrase),
        cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_measured),
        cmocka_unit_test(test_digest_iterations),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
