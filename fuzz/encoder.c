/* SPDX-License-Identifier: MIT */
/*
 * Encoding a cluster: what an encoder says that it made decodes to the same
 * bytes, it stays within its room, and it makes the same of the same after
 * whatever came before.
 */
#include "codec/codec.h"
#include "config.h"
#include "fuzz.h"

/* A cluster in which the input repeats to the end, so that much matches. */
static uint8_t *new_cluster(const struct fuzz_input *input, size_t length)
{
    uint8_t *cluster = fuzz_alloc(length);

    for (size_t i = 0; i < length; i++)
        cluster[i] = input->left > 0 ? input->data[i % input->left] : 0;
    return cluster;
}

static void check_decodes(enum codec_type type, const uint8_t *stream,
                          size_t stream_bytes, const uint8_t *cluster,
                          size_t length)
{
    uint8_t *output = fuzz_alloc(length);
    struct decoder *decoder = NULL;

    FUZZ_ASSERT(decoder_new(type, &decoder, NULL) == BYRE_OK);
    FUZZ_ASSERT(decoder_run(decoder, stream, stream_bytes, output, length,
                            NULL) == BYRE_OK);
    FUZZ_ASSERT(memcmp(output, cluster, length) == 0);
    decoder_free(decoder);
    free(output);
}

static int run(struct encoder *encoder, const uint8_t *cluster, size_t length,
               uint8_t *output, size_t capacity)
{
    struct byre_error err;
    const int r = encoder_run(encoder, cluster, length, output, capacity, &err);

    FUZZ_ASSERT(r >= 0 && (size_t)r <= capacity);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const enum codec_type type =
        BYRE_HAVE_ZSTD && fuzz_take(&input, 1) % 2 ? CODEC_ZSTD : CODEC_DEFLATE;
    const int level = (int)fuzz_take_range(&input, 0, 9);
    const size_t length = (size_t)512 << fuzz_take_range(&input, 0, 7);
    const size_t capacity = fuzz_take(&input, 2) % length;
    uint8_t *cluster = new_cluster(&input, length);
    uint8_t *small = fuzz_alloc(capacity);
    uint8_t *large = fuzz_alloc(length - 1);
    struct encoder *encoder = NULL;
    int first, second;

    FUZZ_ASSERT(encoder_new(type, level, &encoder, NULL) == BYRE_OK);
    first = run(encoder, cluster, length, small, capacity);
    second = run(encoder, cluster, length, large, length - 1);
    if (first > 0) {
        FUZZ_ASSERT(second == first);
        FUZZ_ASSERT(memcmp(small, large, (size_t)first) == 0);
    }
    if (second > 0)
        check_decodes(type, large, (size_t)second, cluster, length);
    encoder_free(encoder);
    free(large);
    free(small);
    free(cluster);
    return 0;
}
