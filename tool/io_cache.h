/* SPDX-License-Identifier: MIT */
/* Cache modes, of images that are written to. */
#ifndef TOOL_IO_CACHE_H
#define TOOL_IO_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct io_cache {
    uint32_t open_flags;  /* BYRE_OPEN_DIRECT, BYRE_OPEN_NO_SYNC */
    uint32_t write_flags; /* BYRE_WRITE_FUA: each write is durable by itself */
};

/*
 * What the cache mode `text` means: none, writeback, writethrough, directsync
 * or unsafe.  Returns false if there is none of that name.
 */
bool io_cache_parse(const char *text, struct io_cache *ret_cache);

/* Whether `text` is an AIO mode: all of them are taken, none has an effect. */
bool io_aio_is_known(const char *text);

#endif /* TOOL_IO_CACHE_H */
