/* SPDX-License-Identifier: MIT */
/*
 * File names as QEMU reads them.  (Measured on QEMU 7.2;
 * docs/format-errata.md.)
 */
#ifndef BYRE_IMAGE_NAMES_H
#define BYRE_IMAGE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "byre.h"

/* The length of the protocol before a ':' that comes before any '/'; or 0. */
size_t name_protocol_length(const char *name);

static inline bool name_has_protocol(const char *name)
{
    return name_protocol_length(name) != 0;
}

/*
 * The name that `stored`, found in the image at `image_path`, stands for: a
 * name with a protocol and an absolute path as they are, all else relative to
 * the folder of the image, joined as text.  `image_path` may be NULL, and then
 * a relative name is an error.  Free the result.
 */
int name_resolve(const char *image_path, const char *stored, char **ret_name,
                 struct byre_error *err);

#endif
