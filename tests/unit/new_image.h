/* SPDX-License-Identifier: MIT */
/*
 * Empty images in memory, as tests of the write engine begin with.
 */
#ifndef BYRE_TESTS_NEW_IMAGE_H
#define BYRE_TESTS_NEW_IMAGE_H

#include "byre.h"

static inline struct byre_store *new_store(void)
{
    struct byre_store *store;

    assert_int_equal(byre_store_new_memory(NULL, 0, &store, NULL), 0);
    return store;
}

/* Clusters of `cluster_bytes`; 0: the default. */
static inline struct byre_store *new_image(uint64_t disk_bytes,
                                           uint64_t cluster_bytes)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store = new_store();

    opts.virtual_size_bytes = disk_bytes;
    opts.cluster_size_bytes = cluster_bytes;
    assert_int_equal(byre_create_store(store, &opts, NULL), 0);
    return store;
}

#endif
