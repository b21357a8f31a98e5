/* SPDX-License-Identifier: MIT */
/*
 * Encoders for the threads that compress at the same time: as many as have done
 * so at once, made when first needed.
 */
#ifndef BYRE_ENGINE_ENCODERS_H
#define BYRE_ENGINE_ENCODERS_H

#include "codec/codec.h"

struct encoders;

/* For clusters of `cluster_bytes`. */
int encoders_new(enum codec_type codec, uint32_t cluster_bytes,
                 struct encoders **ret_encoders, struct byre_error *err);

/* NULL is allowed. */
void encoders_free(struct encoders *encoders);

/* An encoder, and room for its output of less than a cluster. */
struct encoder_work {
    struct encoder_work *next;
    struct encoder *encoder;
    uint8_t *output;
};

int encoders_get(struct encoders *encoders, struct encoder_work **ret_work,
                 struct byre_error *err);
void encoders_put(struct encoders *encoders, struct encoder_work *work);

#endif
