/* SPDX-License-Identifier: MIT */
/*
 * Inflating a cluster: what zlib's streaming inflate accepts, which is how QEMU
 * reads, is accepted with the same bytes, and what it finds too short is
 * refused.  Streams that it calls invalid are left open: libdeflate reads the
 * reserved length codes 286 and 287 as if they were 285.
 */
#include <zlib.h>

#include "codec/codec.h"
#include "fuzz.h"

enum verdict { ACCEPTED, TOO_SHORT, INVALID };

static enum verdict reference(const uint8_t *data, size_t size, uint8_t *output,
                              size_t output_bytes)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)data,
                   .avail_in = (uInt)size,
                   .next_out = output,
                   .avail_out = (uInt)output_bytes };
    int r;

    FUZZ_ASSERT(inflateInit2(&z, -15) == Z_OK);
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    if (r != Z_STREAM_END && r != Z_BUF_ERROR)
        return INVALID;
    return z.avail_out == 0 ? ACCEPTED : TOO_SHORT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const size_t output_bytes = (size_t)512 << fuzz_take_range(&input, 0, 7);
    uint8_t *output = fuzz_alloc(output_bytes);
    uint8_t *want = fuzz_alloc(output_bytes);
    struct decoder *decoder = NULL;
    struct byre_error err;
    enum verdict verdict;
    int r;

    verdict = reference(input.data, input.left, want, output_bytes);
    FUZZ_ASSERT(decoder_new(CODEC_DEFLATE, &decoder, &err) == BYRE_OK);
    r = decoder_run(decoder, input.data, input.left, output, output_bytes,
                    &err);
    fuzz_check_result(r, &err);
    if (verdict != INVALID)
        FUZZ_ASSERT((r == BYRE_OK) == (verdict == ACCEPTED));
    if (verdict == ACCEPTED)
        FUZZ_ASSERT(memcmp(output, want, output_bytes) == 0);
    decoder_free(decoder);
    free(want);
    free(output);
    return 0;
}
