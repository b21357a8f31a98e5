/* SPDX-License-Identifier: MIT */
/*
 * A window of another store: an image that starts somewhere inside a file (the
 * raw driver's "offset" and "size" in a json: name).  It can be changed as far
 * as the store below can.
 */
#ifndef BYRE_STORE_SLICE_H
#define BYRE_STORE_SLICE_H

#include "store/store.h"

/*
 * The window of `length` bytes at `offset`, which then has this size: writes
 * past it and resizes are refused.  BYRE_NO_OFFSET as `length` is all that
 * follows, and grows and shrinks with the store below.  Takes a reference of
 * `base`.
 */
int slice_store_new(struct byre_store *base, uint64_t offset, uint64_t length,
                    struct byre_store **ret_store, struct byre_error *err);

#endif
