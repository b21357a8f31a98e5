/* SPDX-License-Identifier: MIT */
/* How many threads a job shall have, as -m says. */
#ifndef TOOL_WORKERS_H
#define TOOL_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "report.h"

/* More than this the library does not start. */
#define MAX_JOB_WORKERS 64

/* Takes 1 to `most`.  Returns false after a message. */
bool workers_take(const struct tool *tool, const char *argument, long most,
                  uint32_t *ret_workers);

#endif /* TOOL_WORKERS_H */
