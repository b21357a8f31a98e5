/* SPDX-License-Identifier: MIT */
#include "io_cache.h"

#include <string.h>

#include <byre.h>

#include "options.h"

bool io_cache_parse(const char *text, struct io_cache *ret_cache)
{
    uint32_t flags;

    if (!cache_mode_parse(text, &flags))
        return false;
    *ret_cache = (struct io_cache){ 0 };
    if ((flags & CACHE_DIRECT) != 0)
        ret_cache->open_flags |= BYRE_OPEN_DIRECT;
    if ((flags & CACHE_NO_SYNC) != 0)
        ret_cache->open_flags |= BYRE_OPEN_NO_SYNC;
    if (strcmp(text, "writethrough") == 0 || strcmp(text, "directsync") == 0)
        ret_cache->write_flags |= BYRE_WRITE_FUA;
    return true;
}

bool io_aio_is_known(const char *text)
{
    return strcmp(text, "threads") == 0 || strcmp(text, "native") == 0 ||
           strcmp(text, "io_uring") == 0;
}
