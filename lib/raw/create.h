/* SPDX-License-Identifier: MIT */
/*
 * Making a new raw disk: so many zeroes.
 */
#ifndef BYRE_RAW_CREATE_H
#define BYRE_RAW_CREATE_H

#include "engine/filler.h"

/* Checks all that can be told before the size is known. */
int raw_create_check(const struct byre_create_options *opts,
                     struct byre_error *err);

/* Makes what `filler` fills a disk of `size_bytes`, durably. */
int raw_create(struct filler *filler, uint64_t size_bytes,
               uint32_t preallocation, struct byre_error *err);

#endif
