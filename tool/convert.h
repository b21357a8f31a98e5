/* SPDX-License-Identifier: MIT */
/* What a command line of convert asks for, and the target that it names. */
#ifndef TOOL_CONVERT_H
#define TOOL_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include <byre.h>
#include <jansson.h>

#include "create_options.h"
#include "image.h"
#include "options.h"
#include "target.h"

struct convert_request {
    struct image_options image; /* of every source */
    struct byre_convert_options job;
    struct job_options output;
    struct snapshot_choice snapshot;
    json_t *snapshot_keys; /* owns what `snapshot` points to */
    struct create_list target_list;
    const char *target_format; /* NULL: not given */
    const char *backing_file;
    const char *backing_format;
    bool target_image_opts;
    bool sparse_given;
    bool copy_offload;
    bool bitmaps;
    bool skip_broken_bitmaps;
};

static inline bool convert_has_flag(const struct convert_request *request,
                                    uint32_t flag)
{
    return (request->job.flags & flag) != 0;
}

/* What the job's options about the target point to. */
struct convert_target {
    struct target target;
    struct create_values values;
    struct create_passphrase passphrase;
    struct byre_create_options create;
    struct byre_open_options open;
};

/*
 * Finds out how the target that the operand `text` names is made or opened, and
 * lets request->job say so.  Returns false after a message;
 * convert_target_done() is due in either case, after the job.
 */
bool convert_target_prepare(const struct tool *tool,
                            struct convert_request *request, const char *text,
                            size_t source_count,
                            struct convert_target *ret_target);

void convert_target_done(struct convert_target *target);

#endif /* TOOL_CONVERT_H */
