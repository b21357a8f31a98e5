/* SPDX-License-Identifier: MIT */
/* What convert is told about the file that it writes: -O, -o, --target-*. */
#ifndef TOOL_TARGET_H
#define TOOL_TARGET_H

#include <stdbool.h>

#include "report.h"

enum preallocation {
    PREALLOCATION_OFF,    /* zeroes become holes */
    PREALLOCATION_FALLOC, /* space is reserved for the holes */
    PREALLOCATION_FULL    /* every byte is written */
};

struct target_options {
    enum preallocation preallocation;
    bool given; /* there was some -o */
    bool help;  /* -o asked for the list of options */
};

/*
 * Takes the argument of one -o; several add up.  Returns false after a message.
 */
bool target_options_take(struct target_options *options,
                         const struct tool *tool, const char *argument);

/* Prints what -o takes on stdout. */
void target_options_print(void);

/* Whether `format` can be written.  Returns false after a message. */
bool target_format_is_raw(const struct tool *tool, const char *format);

/*
 * The path of the target that the operand `text` names: a path, "file:PATH", or
 * (`is_list`) a list of --target-image-opts.  To be freed.  Returns NULL after
 * a message.
 */
char *target_path(const struct tool *tool, const char *text, bool is_list);

/* What reserving space must know from before the copy. */
struct reservation {
    bool existed; /* the file was there, and belongs to somebody */
    bool sync;    /* wait until the reservation is durable */
};

/* Whether there is a file of that name, or one that a link leads to. */
bool target_exists(const char *name);

/*
 * Reserves the space of the holes of a finished target.  If that fails, a file
 * that existed before is emptied, as by any failure, and another is removed.
 * Returns false after a message.
 */
bool target_reserve(const struct tool *tool, const char *name,
                    const struct reservation *reservation);

/* Whether the name leads to the file that standard output is. */
bool target_is_stdout(const char *name);

#endif /* TOOL_TARGET_H */
