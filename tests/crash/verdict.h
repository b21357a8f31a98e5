/* SPDX-License-Identifier: MIT */
/*
 * The verdict on one state of an image's stores: strict counting before it is
 * opened, every sector of what it reads, its snapshot, and strict counting
 * again after it was open for writing.
 */
#ifndef BYRE_TESTS_CRASH_VERDICT_H
#define BYRE_TESTS_CRASH_VERDICT_H

#include "runner.h"

/* A cut that is after everything. */
#define VERDICT_LAST_CUT (UINT64_MAX - 1)

/* Leaks are wrong too: the image was closed as it should be. */
#define VERDICT_NO_LEAKS (1u << 0)
/* Write over the disk that was opened, and look again. */
#define VERDICT_WRITE (1u << 1)

/*
 * Judges `stores`, which it changes as opening for writing does, by what the
 * model of the runner allows at `cut`.
 */
int verdict_state(const struct runner *runner, struct byre_store *const *stores,
                  uint64_t cut, unsigned flags, struct byre_error *err);

/*
 * The same by Debian's qemu-img, for an image that is not dirty: its check, as
 * far as it has one for the format, and what it converts to.
 */
int verdict_qemu(const struct runner *runner, struct byre_store *const *stores,
                 uint64_t cut, struct byre_error *err);

/* The snapshots that the workload has made: verdict_snapshots.c. */
int verdict_snapshots(const struct runner *runner,
                      struct byre_store *const *stores, uint64_t cut,
                      struct byre_error *err);

/* All of a disk, in a buffer for the caller to free. */
int verdict_read_all(struct byre *disk, uint8_t **ret_bytes,
                     uint64_t *ret_length, struct byre_error *err);

/* What the bitmaps of a state, which is opened for reading, have noted. */
int verdict_bitmaps(const struct runner *runner,
                    struct byre_store *const *stores, unsigned flags,
                    struct byre_error *err);

/* Whether sector after sector of `bytes` is allowed at `cut`. */
int verdict_content(const struct runner *runner, uint64_t cut,
                    const uint8_t *bytes, uint64_t length,
                    struct byre_error *err);

#endif
