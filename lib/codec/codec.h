/* SPDX-License-Identifier: MIT */
/*
 * One compressed cluster in, one cluster out; and back.
 *
 * The exact length of a stream is not stored, so the input may go on behind its
 * end with bytes of somebody else.  A decoder never writes past `output_bytes`
 * and holds no memory that the input asks for.
 */
#ifndef BYRE_CODEC_CODEC_H
#define BYRE_CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "byre.h"

enum codec_type {
    CODEC_DEFLATE, /* raw deflate, RFC 1951 */
    CODEC_ZSTD     /* RFC 8878 frames, one behind the other */
};

/* A decoder's working memory; for one thread at a time. */
struct decoder;

/* BYRE_E_UNSUPPORTED if the library was built without this codec. */
int decoder_new(enum codec_type type, struct decoder **ret_decoder,
                struct byre_error *err);

/* NULL is allowed. */
void decoder_free(struct decoder *decoder);

/*
 * Decodes exactly `output_bytes` into `output`.
 *
 * deflate: a stream that would give more is cut there, as QEMU does; one that
 * gives less is BYRE_E_CORRUPT.  zstd: the frames must end exactly there.
 * What follows the stream in `input` is ignored.
 */
int decoder_run(struct decoder *decoder, const void *input, size_t input_bytes,
                void *output, size_t output_bytes, struct byre_error *err);

/* An encoder's working memory; for one thread at a time. */
struct encoder;

/*
 * `level` is the codec's own, 0 its default; one that it does not have is
 * BYRE_E_INVALID.  BYRE_E_UNSUPPORTED if the library was built without this
 * codec.
 */
int encoder_new(enum codec_type type, int level, struct encoder **ret_encoder,
                struct byre_error *err);

/* NULL is allowed. */
void encoder_free(struct encoder *encoder);

/*
 * Encodes a cluster into at most `capacity` bytes, which is less than
 * `input_bytes`.  Returns how many it took, or 0 if it does not fit, which is
 * no error; `output` then holds anything.  The same input and level give the
 * same bytes, whatever was encoded before.
 *
 * deflate: raw, no distance above 4096, which is all that QEMU's readers of
 * 4 KiB windows take; a stream that would fill `capacity` to the last byte may
 * count as too long (as in QEMU).  zstd: one frame with its content size and no
 * checksum.
 */
int encoder_run(struct encoder *encoder, const void *input, size_t input_bytes,
                void *output, size_t capacity, struct byre_error *err);

#endif
