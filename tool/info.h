/* SPDX-License-Identifier: MIT */
/*
 * What `byre info` knows of an image, as one JSON object in qemu-img's order;
 * the human form is printed from the same object.
 */
#ifndef TOOL_INFO_H
#define TOOL_INFO_H

#include <byre.h>
#include <jansson.h>

/* The description of `img`, or NULL with `err` filled. */
json_t *info_json(struct byre *img, struct byre_error *err);

/* Its snapshots alone, as a list that may be empty; NULL with `err` filled. */
json_t *info_snapshots_json(struct byre *img, struct byre_error *err);

/* Prints such a list on stdout, or nothing where there is none. */
void info_print_snapshots(json_t *snapshots);

/* Adds to a description of `info_json()` what requests are held to. */
void info_add_limits(struct byre *img, json_t *node);

/* Prints a description on stdout, its child nodes indented behind it. */
void info_print_human(json_t *node);

/* Prints only what is specific to the format, if there is anything. */
void info_print_specific(json_t *node);

#endif /* TOOL_INFO_H */
