/* SPDX-License-Identifier: MIT */
/*
 * The LUKS area of a new image.
 */
#ifndef BYRE_QCOW2_CREATE_LUKS_H
#define BYRE_QCOW2_CREATE_LUKS_H

#include "byre.h"

/* The bytes it takes; 0 if the options ask for none. */
int create_luks_size(const struct byre_create_options *opts,
                     uint64_t *ret_bytes, struct byre_error *err);

/* Makes the key, and the area of create_luks_size() bytes; NULL for 0.  Free
   the result. */
int create_luks_area(const struct byre_create_options *opts, uint64_t bytes,
                     uint8_t **ret_area, struct byre_error *err);

#endif
