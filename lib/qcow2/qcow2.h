/* SPDX-License-Identifier: MIT */
/*
 * The engine for QCOW2, versions 2 and 3.
 */
#ifndef BYRE_QCOW2_QCOW2_H
#define BYRE_QCOW2_QCOW2_H

#include "engine/engine.h"

/*
 * Reads the description of the image on `store`, of which it takes a
 * reference: header, extensions, names.  Free the result through its ops.
 */
int qcow2_open(struct byre_store *store, const struct engine_limits *limits,
               struct engine **ret_engine, struct byre_error *err);

/*
 * The same for an image that is to be checked: what only refcounts and
 * snapshots need may be anything.
 */
int qcow2_open_to_check(struct byre_store *store,
                        const struct engine_limits *limits,
                        struct engine **ret_engine, struct byre_error *err);

#endif
