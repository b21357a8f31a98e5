/* SPDX-License-Identifier: MIT */
/* The backing file that a new image names: that it is there, and how large. */
#ifndef TOOL_CREATE_BACKING_H
#define TOOL_CREATE_BACKING_H

#include <stdbool.h>
#include <stdint.h>

#include <byre.h>

#include "create_options.h"

/*
 * Looks at options->backing_name, as the image at `path` will resolve it, and
 * sets *size to its size, in sectors, if that is BYRE_NO_OFFSET.  With
 * BYRE_CREATE_BACKING_UNCHECKED only the options are looked at.  Returns false
 * and fills `message` if it cannot be a backing file of that image.
 */
bool backing_check(const char *path, const struct byre_create_options *options,
                   uint64_t *size, char message[CREATE_MESSAGE_SIZE]);

#endif /* TOOL_CREATE_BACKING_H */
