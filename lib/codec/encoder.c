/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/error.h"
#include "codec/codec.h"
#include "codec/encoder_ops.h"

struct encoder {
    const struct encoder_ops *ops;
    void *state; /* of the ops */
};

static const struct encoder_ops *find_ops(enum codec_type type)
{
    switch (type) {
    case CODEC_DEFLATE:
        return &encoder_deflate_ops;
    case CODEC_ZSTD:
        return &encoder_zstd_ops;
    }
    return NULL;
}

int encoder_new(enum codec_type type, int level, struct encoder **ret_encoder,
                struct byre_error *err)
{
    struct encoder *encoder = calloc(1, sizeof(*encoder));
    int r;

    if (encoder == NULL)
        return fail_nomem(err, "an encoder", sizeof(*encoder));

    encoder->ops = find_ops(type);
    r = encoder->ops->init(level, &encoder->state, err);
    if (r < 0) {
        free(encoder);
        return r;
    }
    *ret_encoder = encoder;
    return BYRE_OK;
}

void encoder_free(struct encoder *encoder)
{
    if (encoder == NULL)
        return;
    encoder->ops->done(encoder->state);
    free(encoder);
}

int encoder_run(struct encoder *encoder, const void *input, size_t input_bytes,
                void *output, size_t capacity, struct byre_error *err)
{
    if (capacity == 0)
        return 0; /* not even an empty stream fits */
    return encoder->ops->run(encoder->state, input, input_bytes, output,
                             capacity, err);
}
