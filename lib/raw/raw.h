/* SPDX-License-Identifier: MIT */
/*
 * The trivial engine: a file is its own disk.
 */
#ifndef BYRE_RAW_RAW_H
#define BYRE_RAW_RAW_H

#include "engine/engine.h"

/*
 * The whole of `store`, of which it takes a reference, as a disk.  A length
 * that is no multiple of 512 is rounded up, its tail zero (as QEMU does).
 *
 * Where the format was guessed, the disk must go on looking raw: a write that
 * makes its start look like an image is refused with BYRE_E_POLICY, since a
 * guest could so name files for the next who guesses (as QEMU does).
 */
int raw_open(struct byre_store *store, bool guessed, struct engine **ret_engine,
             struct byre_error *err);

#endif
