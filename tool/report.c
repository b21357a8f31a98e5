/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <byre.h>

/* A message of the library, and two paths. */
#define MOST_LINE_BYTES 10240

static void report_line(const struct tool *tool, const char *format,
                        va_list arguments)
    __attribute__((format(printf, 2, 0)));

static void report_line(const struct tool *tool, const char *format,
                        va_list arguments)
{
    char line[MOST_LINE_BYTES];

    vsnprintf(line, sizeof(line), format, arguments);
    byre_text_make_plain(line);
    /* Where both lead to one place, the message comes behind its cause. */
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", tool->name, line);
}

void print_plain(const char *text)
{
    char *plain = strdup(text);

    if (plain == NULL)
        return;
    byre_text_make_plain(plain);
    fputs(plain, stdout);
    free(plain);
}

void print_line(FILE *stream, const char *format, ...)
{
    char line[MOST_LINE_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    byre_text_make_plain(line);
    fprintf(stream, "%s\n", line);
}

void report(const struct tool *tool, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_line(tool, format, arguments);
    va_end(arguments);
}

void report_usage(const struct tool *tool, const char *verb, const char *format,
                  ...)
{
    va_list arguments;

    va_start(arguments, format);
    report_line(tool, format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try '%s%s%s --help' for more information\n", tool->name,
            verb != NULL ? " " : "", verb != NULL ? verb : "");
}
