/* SPDX-License-Identifier: MIT */
/* What convert --salvage says of what it could not read. */
#ifndef TOOL_CONVERT_SALVAGE_H
#define TOOL_CONVERT_SALVAGE_H

#include <byre.h>

#include <jansson.h>

#include "report.h"

/* A range that was given up, until its neighbour is known to be read; and what
   was given up in all. */
struct salvage {
    const struct tool *tool;
    bool quiet;
    json_t *list; /* of all ranges, for the summary */
    uint64_t offset;
    uint64_t length;
    uint64_t ranges;
    uint64_t total_bytes;
    char why[BYRE_ERROR_MESSAGE_SIZE];
};

/* As byre_convert_options has it; `user` is a struct salvage. */
void salvage_note(void *user, uint64_t offset, uint64_t length,
                  const struct byre_error *why);

/* Tells the last range, and the sum. */
void salvage_end(struct salvage *salvage);

/* Warns of lists of the image that are lost: a copy has none anyway. */
void salvage_lists(const struct tool *tool, struct byre *img);

#endif /* TOOL_CONVERT_SALVAGE_H */
