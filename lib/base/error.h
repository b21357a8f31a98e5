/* SPDX-License-Identifier: MIT */
/*
 * Failing: each function fills the caller's error, if there is one, and returns
 * the code, so that a failure is one `return`.
 */
#ifndef BYRE_BASE_ERROR_H
#define BYRE_BASE_ERROR_H

#include "byre.h"

#if defined(__GNUC__)
#define BYRE_PRINTF(format_index, args_index)                                  \
    __attribute__((format(printf, format_index, args_index)))
#else
#define BYRE_PRINTF(format_index, args_index)
#endif

/* Fails with `code` (BYRE_E_*). */
int fail(struct byre_error *err, int code, const char *format, ...)
    BYRE_PRINTF(3, 4);

/* The same, for trouble at `offset` of the file. */
int fail_at(struct byre_error *err, int code, uint64_t offset,
            const char *format, ...) BYRE_PRINTF(4, 5);

/*
 * Fails with BYRE_E_IO for a system call that set `sys_errno`; its reason is
 * appended to the message behind a colon.
 */
int fail_errno(struct byre_error *err, int sys_errno, const char *format, ...)
    BYRE_PRINTF(3, 4);

/* Fails with BYRE_E_NOMEM for `object` of `length` bytes. */
int fail_nomem(struct byre_error *err, const char *object, size_t length);

/*
 * Puts a prefix and a colon before the message of an error already written; it
 * is the prefix that is cut where both do not fit.
 */
void error_prefix(struct byre_error *err, const char *format, ...)
    BYRE_PRINTF(2, 3);

#endif
