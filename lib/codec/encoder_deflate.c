/* SPDX-License-Identifier: MIT */
/*
 * Raw deflate by zlib, with QEMU's parameters, so that the same cluster takes
 * as much room as there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/error.h"
#include "codec/encoder_ops.h"

/* Raw, in a window of 4 KiB: no distance is above 4096. */
#define DEFLATE_WINDOW_BITS (-12)
#define DEFLATE_MEM_LEVEL   9

static int check_level(int level, struct byre_error *err)
{
    if (level >= 0 && level <= Z_BEST_COMPRESSION)
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "deflate has no level %d; it has 1 to %d, and 0 for its "
                "default",
                level, Z_BEST_COMPRESSION);
}

static int deflate_init(int level, void **ret_state, struct byre_error *err)
{
    z_stream *stream;
    int r;

    r = check_level(level, err);
    if (r < 0)
        return r;
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return fail_nomem(err, "a deflate stream", sizeof(*stream));

    r = deflateInit2(stream, level != 0 ? level : Z_DEFAULT_COMPRESSION,
                     Z_DEFLATED, DEFLATE_WINDOW_BITS, DEFLATE_MEM_LEVEL,
                     Z_DEFAULT_STRATEGY);
    if (r != Z_OK) {
        free(stream);
        return r == Z_MEM_ERROR
                   ? fail(err, BYRE_E_NOMEM, "out of memory for zlib")
                   : fail(err, BYRE_E_UNSUPPORTED,
                          "zlib refuses to deflate: %s", zError(r));
    }
    *ret_state = stream;
    return BYRE_OK;
}

static void deflate_done(void *state)
{
    z_stream *stream = state;

    deflateEnd(stream);
    free(stream);
}

static int deflate_run(void *state, const void *input, size_t input_bytes,
                       void *output, size_t capacity, struct byre_error *err)
{
    z_stream *stream = state;
    int r;

    /* What a cluster that did not fit has left behind goes first. */
    deflateReset(stream);
    stream->next_in = (Bytef *)(uintptr_t)input;
    stream->avail_in = (uInt)input_bytes;
    stream->next_out = output;
    stream->avail_out = (uInt)capacity;
    r = deflate(stream, Z_FINISH);

    /* Not said of a stream that leaves no byte over: zlib, and so QEMU. */
    if (r == Z_STREAM_END)
        return (int)(capacity - stream->avail_out);
    if (r == Z_OK || r == Z_BUF_ERROR)
        return 0;
    return fail(err, BYRE_E_UNSUPPORTED,
                "zlib cannot deflate a cluster of %zu bytes: %s", input_bytes,
                zError(r));
}

const struct encoder_ops encoder_deflate_ops = {
    .init = deflate_init,
    .run = deflate_run,
    .done = deflate_done,
};
