/* SPDX-License-Identifier: MIT */
/*
 * deflate: libdeflate answers the common case; whatever it does not call a
 * clean full result is decided by zlib, whose streaming inflate fills the
 * output and then stops, as QEMU's reader does.
 *
 * zstd: frame by frame straight into the output, so that no window is
 * allocated, whatever window a frame asks for.
 */
#include "codec/codec.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>

#include "config.h"

#if BYRE_HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif
#if BYRE_HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/error.h"

struct decoder {
    enum codec_type type;
    bool inflate_ready;
    z_stream inflate;
#if BYRE_HAVE_LIBDEFLATE
    struct libdeflate_decompressor *fast;
#endif
#if BYRE_HAVE_ZSTD
    ZSTD_DCtx *zstd;
#endif
};

/* A reader takes the full window, though writers keep to 4 KiB distances. */
#define INFLATE_WINDOW_BITS (-15)

static int prepare_inflate(struct decoder *decoder, struct byre_error *err)
{
    if (decoder->inflate_ready) {
        inflateReset(&decoder->inflate);
        return BYRE_OK;
    }
    if (inflateInit2(&decoder->inflate, INFLATE_WINDOW_BITS) != Z_OK)
        return fail_nomem(err, "an inflate window", 32768);
    decoder->inflate_ready = true;
    return BYRE_OK;
}

static int deflate_run_zlib(struct decoder *decoder, const void *input,
                            size_t input_bytes, void *output,
                            size_t output_bytes, struct byre_error *err)
{
    z_stream *stream = &decoder->inflate;
    int r;

    r = prepare_inflate(decoder, err);
    if (r < 0)
        return r;

    stream->next_in = (Bytef *)(uintptr_t)input;
    stream->avail_in = (uInt)input_bytes;
    stream->next_out = output;
    stream->avail_out = (uInt)output_bytes;
    r = inflate(stream, Z_FINISH);
    if ((r == Z_STREAM_END || r == Z_BUF_ERROR) && stream->avail_out == 0)
        return BYRE_OK;
    if (r == Z_STREAM_END || r == Z_BUF_ERROR)
        return fail(err, BYRE_E_CORRUPT,
                    "a compressed cluster gives %zu bytes, not the %zu it has",
                    output_bytes - stream->avail_out, output_bytes);
    return fail(err, BYRE_E_CORRUPT,
                "a compressed cluster is no deflate stream");
}

static int deflate_run(struct decoder *decoder, const void *input,
                       size_t input_bytes, void *output, size_t output_bytes,
                       struct byre_error *err)
{
#if BYRE_HAVE_LIBDEFLATE
    size_t used, made;

    if (decoder->fast != NULL &&
        libdeflate_deflate_decompress_ex(decoder->fast, input, input_bytes,
                                         output, output_bytes, &used,
                                         &made) == LIBDEFLATE_SUCCESS &&
        made == output_bytes)
        return BYRE_OK;
#endif
    return deflate_run_zlib(decoder, input, input_bytes, output, output_bytes,
                            err);
}

#if BYRE_HAVE_ZSTD
/*
 * A frame of RFC 8878, or one to skip.  The library also knows frames from
 * before the standard, whose decoders allocate the window that a frame asks
 * for.
 */
static bool is_standard_frame(const uint8_t *in, size_t length)
{
    uint32_t magic;

    if (length < sizeof(magic))
        return false;
    magic = (uint32_t)in[3] << 24 | (uint32_t)in[2] << 16 |
            (uint32_t)in[1] << 8 | in[0];
    return magic == ZSTD_MAGICNUMBER ||
           (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

static int zstd_run(struct decoder *decoder, const void *input,
                    size_t input_bytes, void *output, size_t output_bytes,
                    struct byre_error *err)
{
    const uint8_t *in = input;
    uint8_t *out = output;

    while (output_bytes > 0) {
        size_t frame, made;

        if (!is_standard_frame(in, input_bytes))
            return fail(err, BYRE_E_CORRUPT,
                        "a compressed cluster has no zstd frame where %zu "
                        "bytes are missing",
                        output_bytes);
        frame = ZSTD_findFrameCompressedSize(in, input_bytes);

        if (ZSTD_isError(frame))
            return fail(err, BYRE_E_CORRUPT,
                        "a compressed cluster has no whole zstd frame: %s",
                        ZSTD_getErrorName(frame));

        made = ZSTD_decompressDCtx(decoder->zstd, out, output_bytes, in, frame);
        if (ZSTD_isError(made))
            return fail(err, BYRE_E_CORRUPT,
                        "a compressed cluster does not decode to %zu bytes: %s",
                        output_bytes, ZSTD_getErrorName(made));
        in += frame;
        input_bytes -= frame;
        out += made;
        output_bytes -= made;
    }
    return BYRE_OK;
}
#endif

static int prepare_zstd(struct decoder *decoder, struct byre_error *err)
{
#if BYRE_HAVE_ZSTD
    decoder->zstd = ZSTD_createDCtx();
    return decoder->zstd != NULL ? BYRE_OK
                                 : fail_nomem(err, "a zstd context", 0);
#else
    (void)decoder;
    return fail(err, BYRE_E_UNSUPPORTED,
                "this build has no zstd, so zstd-compressed clusters cannot "
                "be read");
#endif
}

int decoder_new(enum codec_type type, struct decoder **ret_decoder,
                struct byre_error *err)
{
    struct decoder *decoder = calloc(1, sizeof(*decoder));
    int r = BYRE_OK;

    if (decoder == NULL)
        return fail_nomem(err, "a decoder", sizeof(*decoder));

    decoder->type = type;
#if BYRE_HAVE_LIBDEFLATE
    if (type == CODEC_DEFLATE)
        decoder->fast = libdeflate_alloc_decompressor();
#endif
    if (type == CODEC_ZSTD)
        r = prepare_zstd(decoder, err);
    if (r < 0) {
        decoder_free(decoder);
        return r;
    }
    *ret_decoder = decoder;
    return BYRE_OK;
}

void decoder_free(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    if (decoder->inflate_ready)
        inflateEnd(&decoder->inflate);
#if BYRE_HAVE_LIBDEFLATE
    libdeflate_free_decompressor(decoder->fast);
#endif
#if BYRE_HAVE_ZSTD
    ZSTD_freeDCtx(decoder->zstd);
#endif
    free(decoder);
}

int decoder_run(struct decoder *decoder, const void *input, size_t input_bytes,
                void *output, size_t output_bytes, struct byre_error *err)
{
#if BYRE_HAVE_ZSTD
    if (decoder->type == CODEC_ZSTD)
        return zstd_run(decoder, input, input_bytes, output, output_bytes, err);
#endif
    return deflate_run(decoder, input, input_bytes, output, output_bytes, err);
}
