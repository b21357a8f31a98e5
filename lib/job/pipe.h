/* SPDX-License-Identifier: MIT */
/*
 * A pipe (or terminal, or /dev/null) as the end of a copy: bytes go out in
 * order.  A reader that is slow, or not there yet, does not keep cancel from
 * being heard; one that goes away is an error, not a signal.
 */
#ifndef BYRE_JOB_PIPE_H
#define BYRE_JOB_PIPE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "byre.h"

/* Whether `name` is something that only takes bytes in order. */
bool pipe_is_one(const char *name);

/* Opens it for writing; waits for a reader until *canceled. */
int pipe_open(const char *name, const atomic_bool *canceled, int *ret_fd,
              struct byre_error *err);

/* Writes all of `buf`, waiting for the reader until *canceled. */
int pipe_write(int fd, const char *name, const atomic_bool *canceled,
               const void *buf, size_t length, struct byre_error *err);

#endif
