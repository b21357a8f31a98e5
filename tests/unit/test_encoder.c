/* SPDX-License-Identifier: MIT */
/*
 * Without this test byre could write compressed clusters that it or QEMU does
 * not read: streams that reach too far back, frames without their size, or
 * bytes past the room there was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "alloc_fault.h"
#include "codec/codec.h"
#include "config.h"

#if BYRE_HAVE_ZSTD
#include <zstd.h>
#endif

#define CLUSTER      65536
#define MAX_CLUSTER  (2 << 20)
#define CANARY_BYTES 64
#define CANARY       0xa5

/* ---- What is encoded ---- */

static void fill_zero(uint8_t *buf, size_t length)
{
    memset(buf, 0, length);
}

/* Text that repeats and changes: some of it matches, none of it is constant. */
static void fill_text(uint8_t *buf, size_t length)
{
    uint32_t seed = 12345;

    for (size_t i = 0; i < length; i++) {
        seed = seed * 1664525 + 1013904223;
        buf[i] = (uint8_t)(seed >> 29 ? (uint32_t)i >> 7 : seed >> 24);
    }
}

static void fill_noise(uint8_t *buf, size_t length)
{
    uint64_t seed = 99;

    for (size_t i = 0; i < length; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        buf[i] = (uint8_t)(seed >> 56);
    }
}

/* Half noise, half zeroes: shrinks, but by stored and coded blocks in turn. */
static void fill_patches(uint8_t *buf, size_t length)
{
    fill_noise(buf, length);
    for (size_t i = 0; i < length; i++) {
        if (i / 128 % 2 == 0)
            buf[i] = 0;
    }
}

/*
 * Of sixteen letters, so that it shrinks; and repeating just beyond the window,
 * so that an encoder with a larger one would reach there.
 */
static void fill_far(uint8_t *buf, size_t length)
{
    fill_noise(buf, length);
    for (size_t i = 0; i < length; i++)
        buf[i] = i < 4200 ? buf[i] & 0x0f : buf[i - 4200];
}

/* clang-format off */
static const struct {
    const char *name;
    void (*fill)(uint8_t *buf, size_t length);
    bool shrinks;
} plains[] = {
    { "zeroes",  fill_zero,    true },
    { "text",    fill_text,    true },
    { "noise",   fill_noise,   false },
    { "patches", fill_patches, true },
    { "far",     fill_far,     true },
};
/* clang-format on */

#define PLAIN_COUNT (sizeof(plains) / sizeof(plains[0]))

static uint8_t *new_plain(size_t kind, size_t length)
{
    uint8_t *plain = malloc(length);

    assert_non_null(plain);
    plains[kind].fill(plain, length);
    return plain;
}

static struct encoder *new_encoder(enum codec_type type, int level)
{
    struct encoder *encoder = NULL;
    struct byre_error err = { 0 };

    if (encoder_new(type, level, &encoder, &err) < 0)
        fail_msg("%s", err.message);
    return encoder;
}

/* encoder_run(), into no more than `capacity` bytes. */
static int run(struct encoder *encoder, const uint8_t *plain, size_t length,
               uint8_t *output, size_t capacity)
{
    struct byre_error err = { 0 };
    int r;

    memset(output + capacity, CANARY, CANARY_BYTES);
    r = encoder_run(encoder, plain, length, output, capacity, &err);
    if (r < 0)
        fail_msg("%s", err.message);
    assert_true((size_t)r <= capacity);
    for (size_t i = 0; i < CANARY_BYTES; i++)
        assert_int_equal(output[capacity + i], CANARY);
    return r;
}

static void assert_decodes(enum codec_type type, const uint8_t *stream,
                           size_t stream_bytes, const uint8_t *plain,
                           size_t length)
{
    uint8_t *output = malloc(length);
    struct decoder *decoder = NULL;

    assert_non_null(output);
    assert_int_equal(decoder_new(type, &decoder, NULL), BYRE_OK);
    assert_int_equal(
        decoder_run(decoder, stream, stream_bytes, output, length, NULL),
        BYRE_OK);
    assert_memory_equal(output, plain, length);
    decoder_free(decoder);
    free(output);
}

/* ---- Round trips ---- */

static void check_round_trip(enum codec_type type, struct encoder *encoder,
                             size_t kind, size_t length)
{
    uint8_t *plain = new_plain(kind, length);
    uint8_t *output = malloc(length - 1 + CANARY_BYTES);
    int made;

    assert_non_null(output);
    made = run(encoder, plain, length, output, length - 1);
    if ((made > 0) != plains[kind].shrinks)
        fail_msg("%zu bytes of %s: %d", length, plains[kind].name, made);
    if (made > 0)
        assert_decodes(type, output, (size_t)made, plain, length);
    free(output);
    free(plain);
}

/* One encoder for all, so that what one leaves behind would harm the next. */
static void check_round_trips(enum codec_type type, int level)
{
    struct encoder *encoder = new_encoder(type, level);

    for (size_t length = 512; length <= MAX_CLUSTER; length *= 2) {
        for (size_t kind = 0; kind < PLAIN_COUNT; kind++)
            check_round_trip(type, encoder, kind, length);
    }
    encoder_free(encoder);
}

static void test_deflate_round_trips(void **state)
{
    (void)state;
    check_round_trips(CODEC_DEFLATE, 0);
    check_round_trips(CODEC_DEFLATE, 1);
    check_round_trips(CODEC_DEFLATE, 9);
}

static void test_zstd_round_trips(void **state)
{
    (void)state;
    if (!BYRE_HAVE_ZSTD)
        skip();
    check_round_trips(CODEC_ZSTD, 0);
    check_round_trips(CODEC_ZSTD, 1);
    check_round_trips(CODEC_ZSTD, 12);
}

/* ---- Room ---- */

/*
 * What does not fit is 0, whatever the room.  What has `slack` bytes more than
 * it takes fits.
 */
static void check_room(enum codec_type type, size_t slack)
{
    struct encoder *encoder = new_encoder(type, 0);
    uint8_t *plain = new_plain(1, CLUSTER);
    uint8_t *want = malloc(CLUSTER + CANARY_BYTES);
    uint8_t *output = malloc(CLUSTER + CANARY_BYTES);
    int full;

    assert_true(want != NULL && output != NULL);
    full = run(encoder, plain, CLUSTER, want, CLUSTER - 1);
    assert_true(full > 1000);
    for (size_t capacity = 0; capacity < (size_t)full; capacity += 97)
        assert_int_equal(run(encoder, plain, CLUSTER, output, capacity), 0);
    assert_int_equal(run(encoder, plain, CLUSTER, output, (size_t)full - 1), 0);

    assert_int_equal(run(encoder, plain, CLUSTER, output, (size_t)full + slack),
                     full);
    assert_memory_equal(output, want, (size_t)full);
    free(output);
    free(want);
    free(plain);
    encoder_free(encoder);
}

static void test_room(void **state)
{
    (void)state;
    check_room(CODEC_DEFLATE, 1);
    if (BYRE_HAVE_ZSTD)
        check_room(CODEC_ZSTD, 0);
}

/* ---- The same bytes ---- */

/* Those that are made first, and by an encoder that has made others. */
static void check_repeatable(enum codec_type type)
{
    struct encoder *used = new_encoder(type, 0);
    uint8_t *first = malloc(CLUSTER + CANARY_BYTES);
    uint8_t *again = malloc(CLUSTER + CANARY_BYTES);

    assert_true(first != NULL && again != NULL);
    for (size_t i = 0; i < 2 * PLAIN_COUNT; i++) {
        struct encoder *fresh = new_encoder(type, 0);
        uint8_t *plain = new_plain(i % PLAIN_COUNT, CLUSTER);
        const int made = run(fresh, plain, CLUSTER, first, CLUSTER - 1);

        assert_int_equal(run(used, plain, CLUSTER, again, CLUSTER - 1), made);
        assert_memory_equal(again, first, (size_t)made);
        free(plain);
        encoder_free(fresh);
    }
    free(again);
    free(first);
    encoder_free(used);
}

static void test_repeatable(void **state)
{
    (void)state;
    check_repeatable(CODEC_DEFLATE);
    if (BYRE_HAVE_ZSTD)
        check_repeatable(CODEC_ZSTD);
}

/* ---- deflate's window ---- */

/*
 * Whether a reader that keeps no more than 4 KiB of what it has decoded takes
 * the stream: it is given one byte of room at a time, so that nothing else is
 * left for it to look back at.
 */
static bool fits_window(const uint8_t *stream, size_t stream_bytes,
                        const uint8_t *plain, size_t length)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)stream,
                   .avail_in = (uInt)stream_bytes };
    size_t done = 0;
    int r = Z_OK;

    assert_int_equal(inflateInit2(&z, -12), Z_OK);
    while (done < length && (r == Z_OK || r == Z_BUF_ERROR)) {
        uint8_t byte = 0;

        z.next_out = &byte;
        z.avail_out = 1;
        r = inflate(&z, Z_SYNC_FLUSH);
        if (z.avail_out != 0 || byte != plain[done])
            break;
        done++;
    }
    inflateEnd(&z);
    return done == length;
}

/* What zlib makes with a window of 32 KiB. */
static size_t deflate_widely(const uint8_t *plain, size_t length,
                             uint8_t *output, size_t capacity)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)plain,
                   .avail_in = (uInt)length,
                   .next_out = output,
                   .avail_out = (uInt)capacity };

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, 0), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return capacity - z.avail_out;
}

static void test_deflate_window(void **state)
{
    uint8_t *output = malloc(CLUSTER + CANARY_BYTES);
    uint8_t *plain = new_plain(4, CLUSTER);
    size_t wide;

    (void)state;
    assert_non_null(output);
    wide = deflate_widely(plain, CLUSTER, output, CLUSTER);
    assert_false(fits_window(output, wide, plain, CLUSTER));
    free(plain);

    for (int level = 0; level <= 9; level++) {
        struct encoder *encoder = new_encoder(CODEC_DEFLATE, level);

        for (size_t kind = 0; kind < PLAIN_COUNT; kind++) {
            int made;

            plain = new_plain(kind, CLUSTER);
            made = run(encoder, plain, CLUSTER, output, CLUSTER - 1);
            if (made > 0 && !fits_window(output, (size_t)made, plain, CLUSTER))
                fail_msg("level %d, %s", level, plains[kind].name);
            free(plain);
        }
        encoder_free(encoder);
    }
    free(output);
}

/* ---- zstd's frames ---- */

#if BYRE_HAVE_ZSTD

#define CHECKSUM_FLAG 4 /* RFC 8878, 3.1.1.1.1 */

static void test_zstd_frame(void **state)
{
    struct encoder *encoder = new_encoder(CODEC_ZSTD, 0);
    uint8_t *output = malloc(CLUSTER + CANARY_BYTES);

    (void)state;
    assert_non_null(output);
    for (size_t length = 512; length <= CLUSTER; length *= 2) {
        uint8_t *plain = new_plain(1, length);
        const size_t made =
            (size_t)run(encoder, plain, length, output, length - 1);

        assert_int_equal(ZSTD_getFrameContentSize(output, made), length);
        assert_int_equal(ZSTD_findFrameCompressedSize(output, made), made);
        assert_int_equal(output[4] & CHECKSUM_FLAG, 0);
        free(plain);
    }
    free(output);
    encoder_free(encoder);
}

#else

static void test_zstd_frame(void **state)
{
    struct encoder *encoder = NULL;
    struct byre_error err = { 0 };

    (void)state;
    assert_int_equal(encoder_new(CODEC_ZSTD, 0, &encoder, &err),
                     BYRE_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no zstd"));
    assert_null(encoder);
}

#endif

/* ---- Refusals ---- */

static void check_level_refused(enum codec_type type, int level)
{
    struct encoder *encoder = NULL;
    struct byre_error err = { 0 };

    assert_int_equal(encoder_new(type, level, &encoder, &err), BYRE_E_INVALID);
    assert_non_null(strstr(err.message, "has no level"));
    assert_null(encoder);
}

static void test_levels(void **state)
{
    (void)state;
    check_level_refused(CODEC_DEFLATE, -1);
    check_level_refused(CODEC_DEFLATE, 10);
    if (!BYRE_HAVE_ZSTD)
        return;
    check_level_refused(CODEC_ZSTD, 23);
    check_level_refused(CODEC_ZSTD, INT32_MIN);
}

/* Each allocation of encoder_new() fails once, and nothing leaks. */
static void check_out_of_memory(enum codec_type type)
{
    struct encoder *encoder = NULL;
    uint64_t refused = 0;

    for (;;) {
        struct byre_error err = { 0 };
        bool failed;
        int r;

        alloc_fault_arm(refused + 1);
        r = encoder_new(type, 0, &encoder, &err);
        failed = alloc_fault_disarm();
        if (!failed) {
            assert_int_equal(r, BYRE_OK);
            break;
        }
        refused++;
        assert_int_equal(r, BYRE_E_NOMEM);
        assert_null(encoder);
    }
    assert_true(refused > 0);
    encoder_free(encoder);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    check_out_of_memory(CODEC_DEFLATE);
    if (BYRE_HAVE_ZSTD)
        check_out_of_memory(CODEC_ZSTD);
    encoder_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deflate_round_trips),
        cmocka_unit_test(test_zstd_round_trips),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_deflate_window),
        cmocka_unit_test(test_zstd_frame),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
