/* SPDX-License-Identifier: MIT */
#include "workers.h"

#include <stdlib.h>

bool workers_take(const struct tool *tool, const char *argument, long most,
                  uint32_t *ret_workers)
{
    char *end;
    const long workers = strtol(argument, &end, 10);

    if (end == argument || *end != '\0' || workers < 1 || workers > most) {
        report(tool, "Invalid number of threads '%s': it must be 1 to %ld",
               argument, most);
        return false;
    }
    *ret_workers = (uint32_t)workers;
    return true;
}
