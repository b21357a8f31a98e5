/* SPDX-License-Identifier: MIT */
/*
 * Making a new image of version 1: header, backing name, an empty L1 table.
 *
 * With a backing file a cluster is a sector, as QEMU makes them: its writers
 * fill no cluster from the backing file, so larger ones would lose data there.
 */
#ifndef BYRE_QCOW1_CREATE_H
#define BYRE_QCOW1_CREATE_H

#include "engine/filler.h"

/* Checks all that can be told before the size is known. */
int qcow1_create_check(const struct byre_create_options *opts,
                       struct byre_error *err);

/* Checks the size. */
int qcow1_create_check_size(const struct byre_create_options *opts,
                            struct byre_error *err);

/* The length of its file. */
uint64_t qcow1_create_bytes(const struct byre_create_options *opts);

/* Writes an image for options that passed both checks, durably. */
int qcow1_create(const struct byre_create_options *opts, struct filler *filler,
                 struct byre_error *err);

#endif
