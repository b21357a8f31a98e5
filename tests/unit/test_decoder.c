/* SPDX-License-Identifier: MIT */
/*
 * Without this test byre could refuse compressed clusters that QEMU reads, or
 * accept ones that QEMU refuses: each rule of acceptance is a row.  It also
 * keeps decoders from writing past the cluster and from holding memory that a
 * hostile stream asks for.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "codec/codec.h"
#include "config.h"

#if BYRE_HAVE_ZSTD
#include <zstd.h>
#endif

#define CLUSTER        65536
#define INPUT_CAPACITY (4 * CLUSTER)
#define CANARY_BYTES   64

/* Where a row's stream is made, and what it decodes to. */
struct stream {
    uint8_t bytes[INPUT_CAPACITY];
    size_t length;
};

/* Text that repeats and changes: some of it matches, none of it is constant. */
static void plain_fill(uint8_t *buf, size_t length)
{
    uint32_t seed = 12345;

    for (size_t i = 0; i < length; i++) {
        seed = seed * 1664525 + 1013904223;
        buf[i] = (uint8_t)(seed >> 29 ? (uint32_t)i >> 7 : seed >> 24);
    }
}

/* Bytes that no codec can shrink, but for their repeating every `period`. */
static void far_fill(uint8_t *buf, size_t length, size_t period)
{
    uint32_t seed = 99;

    for (size_t i = 0; i < length; i++) {
        seed = seed * 1664525 + 1013904223;
        buf[i] = i < period ? (uint8_t)(seed >> 24) : buf[i - period];
    }
}

static void append(struct stream *stream, const void *bytes, size_t length)
{
    assert_true(length <= sizeof(stream->bytes) - stream->length);
    memcpy(stream->bytes + stream->length, bytes, length);
    stream->length += length;
}

/* ---- Making deflate streams ---- */

#define RAW_4K       (-12) /* windowBits of what QEMU writes */
#define RAW_32K      (-15)
#define ZLIB_WRAPPED 15
#define GZIP_WRAPPED 31

static void append_deflate(struct stream *stream, int window_bits,
                           const uint8_t *plain, size_t length)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)plain,
                   .avail_in = (uInt)length,
                   .next_out = stream->bytes + stream->length,
                   .avail_out = (uInt)(INPUT_CAPACITY - stream->length) };

    assert_int_equal(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                  window_bits, 9, Z_DEFAULT_STRATEGY),
                     Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    stream->length = INPUT_CAPACITY - z.avail_out;
    deflateEnd(&z);
}

static void make_exact(struct stream *stream, const uint8_t *plain)
{
    append_deflate(stream, RAW_4K, plain, CLUSTER);
}

static void make_longer(struct stream *stream, const uint8_t *plain)
{
    append_deflate(stream, RAW_4K, plain, CLUSTER + 1000);
}

static void make_shorter(struct stream *stream, const uint8_t *plain)
{
    append_deflate(stream, RAW_4K, plain, CLUSTER - 1);
}

static void make_garbage_behind(struct stream *stream, const uint8_t *plain)
{
    uint8_t garbage[511];

    make_exact(stream, plain);
    memset(garbage, 0xff, sizeof(garbage));
    append(stream, garbage, sizeof(garbage));
}

static void make_zeroes_behind(struct stream *stream, const uint8_t *plain)
{
    static const uint8_t zeroes[511];

    make_exact(stream, plain);
    append(stream, zeroes, sizeof(zeroes));
}

static void make_shorter_garbage(struct stream *stream, const uint8_t *plain)
{
    make_shorter(stream, plain);
    append(stream, "garbage", 7);
}

static void make_truncated(struct stream *stream, const uint8_t *plain)
{
    make_exact(stream, plain);
    stream->length /= 2;
}

static void make_gzip(struct stream *stream, const uint8_t *plain)
{
    append_deflate(stream, GZIP_WRAPPED, plain, CLUSTER);
}

static void make_zlib(struct stream *stream, const uint8_t *plain)
{
    append_deflate(stream, ZLIB_WRAPPED, plain, CLUSTER);
}

static void make_far(struct stream *stream, const uint8_t *plain)
{
    append_deflate(stream, RAW_32K, plain, CLUSTER);
    assert_true(stream->length < CLUSTER * 3 / 4);
}

/* Two stored blocks with all the bytes, and no word that it was the last. */
static void make_unfinished(struct stream *stream, const uint8_t *plain)
{
    const uint8_t stored[5] = { 0, 0x00, 0x80, 0xff, 0x7f };

    append(stream, stored, sizeof(stored));
    append(stream, plain, CLUSTER / 2);
    append(stream, stored, sizeof(stored));
    append(stream, plain + CLUSTER / 2, CLUSTER / 2);
}

static void make_empty_input(struct stream *stream, const uint8_t *plain)
{
    (void)stream;
    (void)plain;
}

static void make_all_zeroes(struct stream *stream, const uint8_t *plain)
{
    (void)plain;
    memset(stream->bytes, 0, 4096);
    stream->length = 4096;
}

static void make_all_ones(struct stream *stream, const uint8_t *plain)
{
    (void)plain;
    memset(stream->bytes, 0xff, 4096);
    stream->length = 4096;
}

/* ---- Making zstd streams ---- */

#if BYRE_HAVE_ZSTD

#define WITH_SIZE     (1u << 0)
#define WITH_CHECKSUM (1u << 1)

static void append_zstd(struct stream *stream, unsigned flags,
                        const uint8_t *plain, size_t length)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t n;

    assert_non_null(context);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag,
                           (flags & WITH_SIZE) != 0);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag,
                           (flags & WITH_CHECKSUM) != 0);
    n = ZSTD_compress2(context, stream->bytes + stream->length,
                       INPUT_CAPACITY - stream->length, plain, length);
    assert_false(ZSTD_isError(n));
    stream->length += n;
    ZSTD_freeCCtx(context);
}

static void make_frame(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, WITH_SIZE, plain, CLUSTER);
}

static void make_frame_no_size(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, 0, plain, CLUSTER);
}

static void make_frame_checksum(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, WITH_SIZE | WITH_CHECKSUM, plain, CLUSTER);
}

static void make_wrong_checksum(struct stream *stream, const uint8_t *plain)
{
    make_frame_checksum(stream, plain);
    stream->bytes[stream->length - 1] ^= 1;
}

static void make_two_frames(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, WITH_SIZE, plain, 1000);
    append_zstd(stream, 0, plain + 1000, CLUSTER - 1000);
}

static void make_skippable_first(struct stream *stream, const uint8_t *plain)
{
    const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3 };

    append(stream, skippable, sizeof(skippable));
    make_frame(stream, plain);
}

static void make_frame_garbage(struct stream *stream, const uint8_t *plain)
{
    make_frame(stream, plain);
    append(stream, "garbage that is no frame", 24);
}

static void make_frame_longer(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, WITH_SIZE, plain, CLUSTER + 1);
}

static void make_frame_longer_no_size(struct stream *stream,
                                      const uint8_t *plain)
{
    append_zstd(stream, 0, plain, CLUSTER + 1);
}

static void make_second_longer(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, WITH_SIZE, plain, 1000);
    append_zstd(stream, WITH_SIZE, plain + 1000, CLUSTER - 999);
}

static void make_frame_shorter(struct stream *stream, const uint8_t *plain)
{
    append_zstd(stream, WITH_SIZE, plain, CLUSTER - 1);
}

static void make_shorter_zeroes(struct stream *stream, const uint8_t *plain)
{
    static const uint8_t zeroes[511];

    make_frame_shorter(stream, plain);
    append(stream, zeroes, sizeof(zeroes));
}

static void make_frame_truncated(struct stream *stream, const uint8_t *plain)
{
    make_frame(stream, plain);
    stream->length /= 2;
}

static void make_frame_cut_checksum(struct stream *stream, const uint8_t *plain)
{
    make_frame_checksum(stream, plain);
    stream->length -= 4;
}

/* A frame of version 0.7, whose decoder would allocate what it asks for. */
static void make_frame_before_the_standard(struct stream *stream,
                                           const uint8_t *plain)
{
    make_frame(stream, plain);
    stream->bytes[0] = 0x27;
}

/* A frame that names a dictionary nobody has. */
static void make_frame_dictionary(struct stream *stream, const uint8_t *plain)
{
    const uint8_t header[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x30, 0x07 };
    const uint8_t block[] = { 0x01, 0x00, 0x08 };

    append(stream, header, sizeof(header));
    append(stream, block, sizeof(block));
    append(stream, plain, CLUSTER);
}

/* A sound frame of one raw block, in a window of 2^(10 + exponent) bytes. */
static void append_window_frame(struct stream *stream, unsigned exponent,
                                const uint8_t *plain)
{
    const uint8_t header[] = { 0x28, 0xb5, 0x2f,
                               0xfd, 0x00, (uint8_t)(exponent << 3) };
    const uint8_t block[] = { 0x01, 0x00, 0x08 }; /* last, raw, 65536 bytes */

    append(stream, header, sizeof(header));
    append(stream, block, sizeof(block));
    append(stream, plain, CLUSTER);
}

#endif

/* ---- Rows ---- */

enum plain_kind { PLAIN_TEXT, PLAIN_FAR };

struct decoder_case {
    const char *name;
    void (*make)(struct stream *stream, const uint8_t *plain);
    enum plain_kind plain;
    int want;
};

/* clang-format off */
static const struct decoder_case deflate_cases[] = {
    { "exact",                      make_exact,           PLAIN_TEXT, BYRE_OK },
    { "longer: cut",                make_longer,          PLAIN_TEXT, BYRE_OK },
    { "garbage behind",             make_garbage_behind,  PLAIN_TEXT, BYRE_OK },
    { "zeroes behind",              make_zeroes_behind,   PLAIN_TEXT, BYRE_OK },
    { "distances past 4 KiB",       make_far,             PLAIN_FAR,  BYRE_OK },
    { "does not shrink",            make_exact,           PLAIN_FAR,  BYRE_OK },
    { "complete, but no last block", make_unfinished,     PLAIN_TEXT, BYRE_OK },
    { "shorter",                    make_shorter,         PLAIN_TEXT, BYRE_E_CORRUPT },
    { "shorter, garbage behind",    make_shorter_garbage, PLAIN_TEXT, BYRE_E_CORRUPT },
    { "truncated",                  make_truncated,       PLAIN_TEXT, BYRE_E_CORRUPT },
    { "gzip",                       make_gzip,            PLAIN_TEXT, BYRE_E_CORRUPT },
    { "zlib",                       make_zlib,            PLAIN_TEXT, BYRE_E_CORRUPT },
    { "nothing",                    make_empty_input,     PLAIN_TEXT, BYRE_E_CORRUPT },
    { "all zeroes",                 make_all_zeroes,      PLAIN_TEXT, BYRE_E_CORRUPT },
    { "all ones",                   make_all_ones,        PLAIN_TEXT, BYRE_E_CORRUPT },
};

#if BYRE_HAVE_ZSTD
static const struct decoder_case zstd_cases[] = {
    { "one frame",                  make_frame,           PLAIN_TEXT, BYRE_OK },
    { "does not shrink",            make_frame,           PLAIN_FAR,  BYRE_OK },
    { "no content size",            make_frame_no_size,   PLAIN_TEXT, BYRE_OK },
    { "checksum",                   make_frame_checksum,  PLAIN_TEXT, BYRE_OK },
    { "two frames",                 make_two_frames,      PLAIN_TEXT, BYRE_OK },
    { "skippable frame first",      make_skippable_first, PLAIN_TEXT, BYRE_OK },
    { "garbage behind",             make_frame_garbage,   PLAIN_TEXT, BYRE_OK },
    { "frame longer",               make_frame_longer,    PLAIN_TEXT, BYRE_E_CORRUPT },
    { "frame longer, no size",      make_frame_longer_no_size, PLAIN_TEXT, BYRE_E_CORRUPT },
    { "second frame longer",        make_second_longer,   PLAIN_TEXT, BYRE_E_CORRUPT },
    { "shorter",                    make_frame_shorter,   PLAIN_TEXT, BYRE_E_CORRUPT },
    { "shorter, zeroes behind",     make_shorter_zeroes,  PLAIN_TEXT, BYRE_E_CORRUPT },
    { "truncated",                  make_frame_truncated, PLAIN_TEXT, BYRE_E_CORRUPT },
    { "checksum cut off",           make_frame_cut_checksum, PLAIN_TEXT, BYRE_E_CORRUPT },
    { "wrong checksum",             make_wrong_checksum,  PLAIN_TEXT, BYRE_E_CORRUPT },
    { "unknown dictionary",         make_frame_dictionary, PLAIN_TEXT, BYRE_E_CORRUPT },
    { "before the standard",        make_frame_before_the_standard, PLAIN_TEXT, BYRE_E_CORRUPT },
    { "nothing",                    make_empty_input,     PLAIN_TEXT, BYRE_E_CORRUPT },
    { "all zeroes",                 make_all_zeroes,      PLAIN_TEXT, BYRE_E_CORRUPT },
    { "deflate",                    make_exact,           PLAIN_TEXT, BYRE_E_CORRUPT },
};
#endif
/* clang-format on */

static void check_case(struct decoder *decoder, const struct decoder_case *c)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    uint8_t *plain = malloc(2 * CLUSTER);
    uint8_t *output = malloc(CLUSTER + CANARY_BYTES);
    struct byre_error err = { 0 };
    uint8_t *input;
    int r;

    assert_true(stream != NULL && plain != NULL && output != NULL);
    if (c->plain == PLAIN_FAR)
        far_fill(plain, 2 * CLUSTER, 20000);
    else
        plain_fill(plain, 2 * CLUSTER);
    c->make(stream, plain);

    /* An input of exactly its length, so that over-reads are seen. */
    input = malloc(stream->length + (stream->length == 0));
    assert_non_null(input);
    memcpy(input, stream->bytes, stream->length);
    memset(output, 0xa5, CLUSTER + CANARY_BYTES);
    r = decoder_run(decoder, input, stream->length, output, CLUSTER, &err);
    if (r != c->want)
        fail_msg("%s: %d, not %d (%s)", c->name, r, c->want, err.message);
    if (r == BYRE_OK && memcmp(output, plain, CLUSTER) != 0)
        fail_msg("%s: other bytes", c->name);
    if (r < 0 && (err.code != r || err.message[0] == '\0'))
        fail_msg("%s: no message", c->name);
    for (size_t i = 0; i < CANARY_BYTES; i++)
        assert_int_equal(output[CLUSTER + i], 0xa5);

    free(input);
    free(output);
    free(plain);
    free(stream);
}

/* One decoder for all rows: a refused stream must not harm the next. */
static void check_cases(enum codec_type type, const struct decoder_case *cases,
                        size_t count)
{
    struct decoder *decoder = NULL;

    assert_int_equal(decoder_new(type, &decoder, NULL), BYRE_OK);
    for (size_t i = 0; i < count; i++)
        check_case(decoder, &cases[i]);
    for (size_t i = count; i > 0; i--)
        check_case(decoder, &cases[i - 1]);
    decoder_free(decoder);
}

static void test_deflate(void **state)
{
    (void)state;
    check_cases(CODEC_DEFLATE, deflate_cases,
                sizeof(deflate_cases) / sizeof(deflate_cases[0]));
}

#if BYRE_HAVE_ZSTD

static void test_zstd(void **state)
{
    (void)state;
    check_cases(CODEC_ZSTD, zstd_cases,
                sizeof(zstd_cases) / sizeof(zstd_cases[0]));
}

/*
 * A window is what a frame claims to need.  Whether such a frame is refused or
 * decoded, the decoder must not go on holding what was claimed.
 */
static void test_zstd_huge_window(void **state)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    uint8_t *plain = malloc(CLUSTER);
    uint8_t *output = malloc(CLUSTER);
    struct decoder *decoder = NULL;

    (void)state;
    assert_true(stream != NULL && plain != NULL && output != NULL);
    plain_fill(plain, CLUSTER);
    assert_int_equal(decoder_new(CODEC_ZSTD, &decoder, NULL), BYRE_OK);
    for (unsigned exponent = 14; exponent < 32; exponent++) {
        const struct mallinfo2 before = mallinfo2();
        struct mallinfo2 after;
        int r;

        stream->length = 0;
        append_window_frame(stream, exponent, plain);
        r = decoder_run(decoder, stream->bytes, stream->length, output, CLUSTER,
                        NULL);
        after = mallinfo2();
        assert_true(r < 0 || memcmp(output, plain, CLUSTER) == 0);
        assert_true(after.uordblks + after.hblkhd <
                    before.uordblks + before.hblkhd + (1 << 20));
    }
    decoder_free(decoder);
    free(output);
    free(plain);
    free(stream);
}

#else

static void test_zstd(void **state)
{
    struct decoder *decoder = NULL;

    (void)state;
    assert_int_equal(decoder_new(CODEC_ZSTD, &decoder, NULL),
                     BYRE_E_UNSUPPORTED);
    assert_null(decoder);
}

static void test_zstd_huge_window(void **state)
{
    (void)state;
    print_message("built without zstd\n");
    skip();
}

#endif

/* Every cluster size there is, so that no size is special. */
static void test_deflate_cluster_sizes(void **state)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    uint8_t *plain = malloc(CLUSTER);
    struct decoder *decoder = NULL;

    (void)state;
    assert_true(stream != NULL && plain != NULL);
    plain_fill(plain, CLUSTER);
    assert_int_equal(decoder_new(CODEC_DEFLATE, &decoder, NULL), BYRE_OK);
    for (size_t bytes = 512; bytes <= CLUSTER; bytes *= 2) {
        uint8_t *output = malloc(bytes);

        assert_non_null(output);
        stream->length = 0;
        append_deflate(stream, RAW_4K, plain, bytes);
        assert_int_equal(decoder_run(decoder, stream->bytes, stream->length,
                                     output, bytes, NULL),
                         BYRE_OK);
        assert_memory_equal(output, plain, bytes);
        free(output);
    }
    decoder_free(decoder);
    decoder_free(NULL);
    free(plain);
    free(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deflate),
        cmocka_unit_test(test_deflate_cluster_sizes),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_zstd_huge_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
