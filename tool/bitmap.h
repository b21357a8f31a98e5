/* SPDX-License-Identifier: MIT */
/* What is shown of bitmaps. */
#ifndef TOOL_BITMAP_H
#define TOOL_BITMAP_H

#include <byre.h>
#include <jansson.h>

#include "report.h"

/*
 * Prints the bitmaps of an image, or the one of that `name`, with the bytes
 * that they have noted.  Returns false after a message.
 */
bool bitmap_list_print(const struct tool *tool, struct byre *img,
                       const char *name, bool json);

/* Name, flags and granularity, as info has them. */
json_t *bitmap_json(const struct byre_bitmap *bitmap);

#endif /* TOOL_BITMAP_H */
