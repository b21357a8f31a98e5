/* SPDX-License-Identifier: MIT */
#include "io_options.h"

#include <string.h>

static bool take_cache(const struct tool *tool, const char *text,
                       struct io_mode *mode)
{
    if (io_cache_parse(text, &mode->cache))
        return true;
    report(tool, "Invalid cache option: %s", text);
    return false;
}

static bool take_discard(const struct tool *tool, const char *text,
                         struct io_mode *mode)
{
    const bool off = strcmp(text, "ignore") == 0 || strcmp(text, "off") == 0;

    if (!off && strcmp(text, "unmap") != 0 && strcmp(text, "on") != 0) {
        report(tool, "Invalid discard option: %s", text);
        return false;
    }
    mode->ignore_discards = off;
    return true;
}

static bool take_aio(const struct tool *tool, const char *text)
{
    if (io_aio_is_known(text))
        return true;
    report(tool, "Invalid aio option: %s", text);
    return false;
}

bool io_mode_take(const struct tool *tool, int letter, const char *argument,
                  struct io_mode *mode)
{
    switch (letter) {
    case 'r':
        mode->read_only = true;
        break;
    case 's':
        mode->snapshot = true;
        break;
    case 'U':
        mode->shared = true;
        break;
    case 'n':
        return take_cache(tool, "none", mode);
    case 't':
        return take_cache(tool, argument, mode);
    case 'd':
        return take_discard(tool, argument, mode);
    case 'i':
        return take_aio(tool, argument);
    case 'C':
        report(tool, "-C: copying what is read into the image is not "
                     "supported; 'byre convert' copies all of it");
        return false;
    }
    return true; /* -k, -m: nothing to do */
}
