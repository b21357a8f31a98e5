/* SPDX-License-Identifier: MIT */
/*
 * A second opinion on an image, made without the library: whether its tables
 * can be believed, so that what is written must be what is read.
 *
 * Sound: every structure has its clusters to itself, every reference is counted
 * (space may be lost), COPIED is set only where there is one reference, and no
 * entry points outside the file.  Of an image marked dirty the counts and
 * flags do not matter, since they are made anew.  Version 1 has no counts:
 * nothing may overlap.  What takes a look at more than `most_entries` entries
 * of tables to tell counts as not sound.
 *
 * spec: qcow2 "Refcounts", "Cluster mapping", "Snapshots"
 */
#ifndef BYRE_FUZZ_SOUNDNESS_H
#define BYRE_FUZZ_SOUNDNESS_H

#include <stdbool.h>

#include "fuzz.h"

bool image_is_sound(const uint8_t *image, size_t length, uint32_t most_entries);

/* Where the snapshot table of a QCOW2 image ends, as far as it can be told. */
uint64_t snapshot_table_end(const uint8_t *image, size_t length);

/* A number at an offset; what lies past the end counts as zero. */
uint64_t image_number(const uint8_t *image, size_t length, uint64_t offset,
                      unsigned bytes);

#endif
