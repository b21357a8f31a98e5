/* SPDX-License-Identifier: MIT */
/* The names of images that are written: operands, and --target-image-opts. */
#ifndef TOOL_TARGET_H
#define TOOL_TARGET_H

#include <stdbool.h>

#include "report.h"

/*
 * The path that the operand `text` names: a path, "file:PATH", or one of these
 * behind "zeroinit:", by which some callers ask QEMU to believe what byre finds
 * out by itself.  To be freed.  Returns NULL after a message.
 */
char *target_path(const struct tool *tool, const char *text);

/* An image that exists, to be opened. */
struct target {
    char *name;         /* a path or json: name; owned */
    const char *format; /* NULL: the name says it */
};

/*
 * What the list `text` of --target-image-opts names.  Returns false after a
 * message; target_done() is due on success.
 */
bool target_from_list(const struct tool *tool, const char *text,
                      struct target *ret_target);

void target_done(struct target *target);

/* Whether there is a file of that name, or one that a link leads to. */
bool target_exists(const char *name);

/* Whether the name leads to a device. */
bool target_is_device(const char *name);

/* Whether both names lead to one file. */
bool target_is_same_file(const char *name, const char *other);

/* Whether the name leads to the file that standard output is. */
bool target_is_stdout(const char *name);

#endif /* TOOL_TARGET_H */
