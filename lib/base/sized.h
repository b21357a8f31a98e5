/* SPDX-License-Identifier: MIT */
/*
 * Structs that begin with their size, so that programs and libraries of
 * different ages understand one another.
 */
#ifndef BYRE_BASE_SIZED_H
#define BYRE_BASE_SIZED_H

#include <stddef.h>

#include "byre.h"

/*
 * Copies a caller's struct, whose first member is its size, into the library's
 * `known_bytes` of `ret`; members the caller does not know become zero.  A size
 * below `least_bytes`, or a non-zero byte past what the library knows, is
 * BYRE_E_INVALID.  `name` is for the message.
 */
int sized_copy_in(const void *from, size_t least_bytes, void *ret,
                  size_t known_bytes, const char *name, struct byre_error *err);

/*
 * Copies a result into the caller's struct, of which the size is set: as much
 * as it has room for.
 */
int sized_copy_out(const void *from, size_t known_bytes, void *ret,
                   const char *name, struct byre_error *err);

#endif
