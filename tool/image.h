/* SPDX-License-Identifier: MIT */
/* Opening the images that a command line names. */
#ifndef TOOL_IMAGE_H
#define TOOL_IMAGE_H

#include <byre.h>

#include "options.h"
#include "report.h"

/* What to do where the format of a backing file is not recorded. */
#define PROBE_ADVICE                                                           \
    "; --probe-backing lets it be guessed, if you trust that file"

/* A snapshot as -l names it: at most one way, see struct byre_open_options. */
struct snapshot_choice {
    const char *any;
    const char *id;
    const char *name;
};

/*
 * Opens the image that the operand `text` names, as the options say, with
 * `format` instead of theirs, with BYRE_OPEN_* `flags` besides theirs, and of
 * `snapshot` (NULL: none).  Returns NULL after a message.
 */
struct byre *image_open(const struct tool *tool,
                        const struct image_options *options, const char *text,
                        const char *format, uint32_t flags,
                        const struct snapshot_choice *snapshot);

#define IMAGE_WITH_ALL (BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE)

/* Opens the disk with all that it stands on: the way of the data verbs. */
struct byre *image_open_disk(const struct tool *tool,
                             const struct image_options *options,
                             const char *text, const char *format,
                             const struct snapshot_choice *snapshot);

/*
 * The options exclude each other: a format, and a list that names the driver.
 * Returns false after a message.
 */
bool image_options_agree(const struct tool *tool,
                         const struct image_options *options,
                         const char *format);

#endif /* TOOL_IMAGE_H */
