/* SPDX-License-Identifier: MIT */
/* The options about an image that byre io and its command open share. */
#ifndef TOOL_IO_OPTIONS_H
#define TOOL_IO_OPTIONS_H

#include "io.h"

/*
 * Takes the option `letter` (of "rsCnki:Ut:d:") into `mode`.  Returns false
 * after a message.
 */
bool io_mode_take(const struct tool *tool, int letter, const char *argument,
                  struct io_mode *mode);

#endif /* TOOL_IO_OPTIONS_H */
