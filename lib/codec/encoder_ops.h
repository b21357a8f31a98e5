/* SPDX-License-Identifier: MIT */
/*
 * One way to encode: what a library offers, behind four functions.  encoder.c
 * chooses which of them serves a codec.
 */
#ifndef BYRE_CODEC_ENCODER_OPS_H
#define BYRE_CODEC_ENCODER_OPS_H

#include <stddef.h>

#include "byre.h"

struct encoder_ops {
    /*
     * Makes the state.  `level` is not checked yet, 0 the default; one that
     * does not exist is BYRE_E_INVALID.
     */
    int (*init)(int level, void **ret_state, struct byre_error *err);

    /* encoder_run(), with a capacity above 0. */
    int (*run)(void *state, const void *input, size_t input_bytes, void *output,
               size_t capacity, struct byre_error *err);

    void (*done)(void *state);
};

extern const struct encoder_ops encoder_deflate_ops; /* zlib */
extern const struct encoder_ops encoder_zstd_ops;

#endif
