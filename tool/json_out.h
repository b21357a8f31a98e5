/* SPDX-License-Identifier: MIT */
/* JSON in the form that readers of qemu-img's output are used to. */
#ifndef TOOL_JSON_OUT_H
#define TOOL_JSON_OUT_H

#include <stdio.h>

#include <jansson.h>

#include "options.h"

/*
 * Prints `value` and a newline: four spaces a level, empty lists and objects
 * over two lines, everything but printable ASCII as \uXXXX.
 */
void json_out(FILE *stream, const json_t *value);

/* The same on one line where progress is shown as such lines, and releases it.
 */
void json_out_result(FILE *stream, const struct job_options *options,
                     json_t *value);

/*
 * A string value of any bytes: image files and names in them need not be UTF-8.
 * Bytes that are not are shown as U+FFFD.
 */
json_t *json_out_string(const char *text);

#endif /* TOOL_JSON_OUT_H */
