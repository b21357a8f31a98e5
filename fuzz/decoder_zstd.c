/* SPDX-License-Identifier: MIT */
/*
 * Decoding a cluster of zstd frames: what the streaming decoder accepts, which
 * is how QEMU reads, is accepted with the same bytes.
 */
#include <zstd.h>

#include "codec/codec.h"
#include "fuzz.h"

/* Windows past this are refused by the reference only, which allocates them. */
#define WINDOW_BITS 20

/* The library also decodes frames from before the standard, which are none
   here: their windows have no limit. */
static int is_standard_frame(const uint8_t *data, size_t size)
{
    uint32_t magic;

    if (size < 4)
        return 0;
    magic = (uint32_t)data[3] << 24 | (uint32_t)data[2] << 16 |
            (uint32_t)data[1] << 8 | data[0];
    return magic == ZSTD_MAGICNUMBER ||
           (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

/* Frames until the output is full; the last one must be finished. */
static int reference_accepts(const uint8_t *data, size_t size, uint8_t *output,
                             size_t output_bytes)
{
    ZSTD_inBuffer in = { data, size, 0 };
    ZSTD_outBuffer out = { output, output_bytes, 0 };
    ZSTD_DCtx *context = ZSTD_createDCtx();
    unsigned long long declared = 0;
    size_t frame_start = 0;
    size_t r = 0; /* between frames */

    FUZZ_ASSERT(context != NULL);
    ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_BITS);
    while (out.pos < out.size) {
        const size_t in_before = in.pos;
        const size_t out_before = out.pos;

        if (r == 0 && !is_standard_frame(data + in.pos, size - in.pos)) {
            r = 1;
            break;
        }
        if (r == 0) {
            declared = ZSTD_getFrameContentSize(data + in.pos, size - in.pos);
            frame_start = out.pos;
        }
        r = ZSTD_decompressStream(context, &out, &in);
        /* A frame may lie about its size where this way does not look. */
        if (r == 0 && declared < ZSTD_CONTENTSIZE_ERROR &&
            out.pos - frame_start != declared) {
            r = 1;
            break;
        }
        if (ZSTD_isError(r) || (in.pos == in_before && out.pos == out_before))
            break;
    }
    ZSTD_freeDCtx(context);
    return r == 0 && out.pos == out.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const size_t output_bytes = (size_t)512 << fuzz_take_range(&input, 0, 7);
    uint8_t *output = fuzz_alloc(output_bytes);
    uint8_t *want = fuzz_alloc(output_bytes);
    struct decoder *decoder = NULL;
    struct byre_error err;
    int accepted;
    int r;

    accepted = reference_accepts(input.data, input.left, want, output_bytes);
    FUZZ_ASSERT(decoder_new(CODEC_ZSTD, &decoder, &err) == BYRE_OK);
    r = decoder_run(decoder, input.data, input.left, output, output_bytes,
                    &err);
    fuzz_check_result(r, &err);
    if (accepted)
        FUZZ_ASSERT(r == BYRE_OK && memcmp(output, want, output_bytes) == 0);
    decoder_free(decoder);
    free(want);
    free(output);
    return 0;
}
