/* SPDX-License-Identifier: MIT */
/*
 * A store that passes all calls on but for one flush, which it only says it has
 * done: a program that forgot that barrier.
 */
#ifndef BYRE_TESTS_CRASH_DEAF_STORE_H
#define BYRE_TESTS_CRASH_DEAF_STORE_H

#include <stdatomic.h>

#include "store/store.h"

/* Shared by the stores of one image; the caller's, who lets it outlive them. */
struct deafness {
    atomic_uint_fast64_t flushes; /* counted from 1 */
    uint64_t omitted;             /* which of them is not done; 0: none */
};

/* On top of `base`, of which it takes a reference. */
int deaf_store_new(struct byre_store *base, struct deafness *deafness,
                   struct byre_store **ret_store, struct byre_error *err);

#endif
