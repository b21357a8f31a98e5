/* SPDX-License-Identifier: MIT */
/* What convert does with the bitmaps of its source, the only one. */
#ifndef BYRE_JOB_CONVERT_BITMAPS_H
#define BYRE_JOB_CONVERT_BITMAPS_H

#include "byre.h"

/*
 * Whether all bitmaps that the flags (BYRE_CONVERT_*) ask for can be copied,
 * and `bitmap` (or NULL) can be read.
 */
int convert_bitmaps_check(struct byre *source, uint32_t flags,
                          const char *bitmap, struct byre_error *err);

/* Adds them to the target, which has its content. */
int convert_bitmaps_copy(struct byre *source, struct byre *target,
                         uint32_t flags, struct byre_error *err);

#endif
