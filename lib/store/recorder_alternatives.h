/* SPDX-License-Identifier: MIT */
/*
 * Counting the states of one store, and building each of them.
 */
#ifndef BYRE_STORE_RECORDER_ALTERNATIVES_H
#define BYRE_STORE_RECORDER_ALTERNATIVES_H

#include "store/recorder_pending.h"

/* Lists what each sector may hold, and counts the states up to `limit`. */
int alternatives_list(struct pending *pending, uint64_t limit,
                      struct byre_error *err);

#endif
