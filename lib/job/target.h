/* SPDX-License-Identifier: MIT */
/*
 * Where a converted raw disk goes: a new file, an existing file or block
 * device, or a pipe.
 *
 * What it made itself is removed again when the work fails; an existing file
 * that it had cut to nothing is left empty, never half-filled.
 */
#ifndef BYRE_JOB_TARGET_H
#define BYRE_JOB_TARGET_H

#include <stdatomic.h>
#include <stdbool.h>

#include "image/image.h"

struct target {
    char *name;
    struct byre_store *store; /* NULL: a pipe */
    int pipe_fd;              /* -1: not a pipe */
    bool created;             /* removed on failure */
    bool emptied;             /* cut again on failure */
    bool reads_zero;          /* zeroes need no writing */
    const atomic_bool *canceled;
};

/*
 * Opens or makes the target for `size_bytes` with the BYRE_CONVERT_* flags.
 * A target that one of the sources reads from is refused untouched.  Waiting
 * for the reader of a pipe ends with *canceled, which must outlive the target.
 */
int target_open(const char *name, uint32_t flags, uint64_t size_bytes,
                struct byre *const *sources, size_t source_count,
                const atomic_bool *canceled, struct target *ret_target,
                struct byre_error *err);

/* From many threads at once, unless it is a pipe: that takes its bytes in
   order. */
int target_write(struct target *target, uint64_t offset, const void *buf,
                 size_t length, struct byre_error *err);

/* Makes a range zero: a hole where `may_unmap`. */
int target_zero(struct target *target, uint64_t offset, uint64_t length,
                bool may_unmap, struct byre_error *err);

/* Makes it durable, its name too. */
int target_sync(struct target *target, struct byre_error *err);

/* Closes; if the work failed, first undoes what target_open() did. */
void target_close(struct target *target, bool failed);

#endif
