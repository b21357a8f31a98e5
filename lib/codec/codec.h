/* SPDX-License-Identifier: MIT */
/*
 * One compressed cluster in, one cluster out.
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

#endif
