/* SPDX-License-Identifier: MIT */
/* The snapshot that -l names, and opening it. */
#ifndef TOOL_SNAPSHOT_CHOICE_H
#define TOOL_SNAPSHOT_CHOICE_H

#include <jansson.h>

#include "image.h"

/*
 * Takes "snapshot.id=ID,snapshot.name=NAME", or what may be either.  What
 * *ret_choice points to belongs to the argument and to *keys, which is freed
 * with json_decref(), and may be NULL.  Returns false after a message.
 */
bool snapshot_choice_take(const struct tool *tool, const char *argument,
                          struct snapshot_choice *ret_choice, json_t **keys);

/*
 * image_open() of the snapshot, which must have both the id and the name where
 * both are given.
 */
struct byre *image_open_snapshot(const struct tool *tool,
                                 const struct image_options *options,
                                 const char *text, const char *format,
                                 uint32_t flags,
                                 const struct snapshot_choice *snapshot);

#endif /* TOOL_SNAPSHOT_CHOICE_H */
