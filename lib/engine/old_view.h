/* SPDX-License-Identifier: MIT */
/*
 * What a disk reads now, for copying on write: its own clusters and, where it
 * has none, what it stands on.  Ranges may reach past the end of the disk,
 * where all is zero.
 */
#ifndef BYRE_ENGINE_OLD_VIEW_H
#define BYRE_ENGINE_OLD_VIEW_H

#include "engine/writer.h"

int old_view_read(struct writer *writer, uint64_t offset, void *buf,
                  size_t length, struct byre_error *err);

/* Whether all of a range is known to be zero; an empty one is. */
int old_view_is_zero(struct writer *writer, uint64_t offset, uint64_t length,
                     bool *ret_zero, struct byre_error *err);

#endif
