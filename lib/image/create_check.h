/* SPDX-License-Identifier: MIT */
/*
 * Options of a new image: filled in, and checked as far as no file is needed.
 */
#ifndef BYRE_IMAGE_CREATE_CHECK_H
#define BYRE_IMAGE_CREATE_CHECK_H

#include <stdbool.h>

#include "byre.h"

/*
 * Copies what the caller gave, which may be NULL, with the defaults filled in,
 * and checks it; the size is not looked at.
 */
int create_check(const struct byre_create_options *given,
                 struct byre_create_options *ret, struct byre_error *err);

/* Settles the size: a multiple of 512 that a store can have. */
int create_check_size(struct byre_create_options *opts, struct byre_error *err);

static inline bool create_flag(const struct byre_create_options *opts,
                               uint32_t flag)
{
    return (opts->flags & flag) != 0;
}

#endif
