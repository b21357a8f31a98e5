/* SPDX-License-Identifier: MIT */
/*
 * What the tool says on stderr: one line a message, each beginning with the
 * name the program runs under.
 */
#ifndef TOOL_REPORT_H
#define TOOL_REPORT_H

#include <stdbool.h>
#include <stdio.h>

/* How the program was called; every verb gets it. */
struct tool {
    const char *name; /* "byre" or "qemu-img" */
    bool as_qemu_img; /* its defaults are those of qemu-img */
};

/* Prints `text` on stdout, less what would control a terminal. */
void print_plain(const char *text);

/*
 * Prints one line on the stream, less what would control a terminal.  What is
 * longer than a message can be is cut off.
 */
void print_line(FILE *stream, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints "NAME: MESSAGE" as one line. */
void report(const struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * The same, followed by where to find help.  `verb` is NULL outside any verb.
 */
void report_usage(const struct tool *tool, const char *verb, const char *format,
                  ...) __attribute__((format(printf, 3, 4)));

#endif /* TOOL_REPORT_H */
