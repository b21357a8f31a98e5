/* SPDX-License-Identifier: MIT */
/* Sizes as people write and read them. */
#ifndef TOOL_SIZE_H
#define TOOL_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"

/*
 * Reads a size: digits, then optionally a fraction, then optionally one of
 * b k M G T P E in either case (powers of 1024; a fraction needs k or more), or
 * 0x and hexadecimal digits.  Returns 0, -EINVAL, or -ERANGE above INT64_MAX.
 */
int size_parse(const char *text, uint64_t *ret_size);

/* The same for the argument of an option; `what` names it in the message. */
bool size_option(const struct tool *tool, const char *what, const char *text,
                 uint64_t *ret_size);

#define SIZE_TEXT_SIZE 32

/* `size` in three digits with a binary prefix, as "1.5 GiB". */
const char *size_text(uint64_t size, char buf[SIZE_TEXT_SIZE]);

#endif /* TOOL_SIZE_H */
