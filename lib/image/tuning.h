/* SPDX-License-Identifier: MIT */
/*
 * What the option tree of a name says of how an image is opened, beside where
 * it is: QEMU's run-time options.  Those that change nothing here (how QEMU
 * caches and waits) are checked and taken.
 */
#ifndef BYRE_IMAGE_TUNING_H
#define BYRE_IMAGE_TUNING_H

#include <stdbool.h>

#include "config.h"

#if BYRE_HAVE_JSON
#include <jansson.h>
#endif

#include "byre.h"

struct tuning {
    uint32_t open_flags; /* BYRE_OPEN_*, besides the caller's */
    bool read_only;
    uint64_t table_cache_bytes;    /* 0: the caller's */
    uint64_t refcount_cache_bytes; /* 0: the caller's */
};

enum tuning_node {
    TUNING_PROTOCOL, /* has a filename */
    TUNING_QCOW2,
    TUNING_FORMAT,  /* another one */
    TUNING_UNKNOWN, /* a format that is to be probed */
};

#if BYRE_HAVE_JSON
/*
 * Takes the option `key` of a node.  BYRE_E_INVALID if there is none of that
 * name for such a node, or it cannot have that value.
 */
int tuning_take(struct tuning *tuning, enum tuning_node kind, const char *key,
                const json_t *value, struct byre_error *err);
#endif

#endif
