/* SPDX-License-Identifier: MIT */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>

#include "keyval.h"

bool image_options_agree(const struct tool *tool,
                         const struct image_options *options,
                         const char *format)
{
    if (!options->as_options || format == NULL)
        return true;
    report(tool, "--image-opts and --format are mutually exclusive");
    return false;
}

static void report_failure(const struct tool *tool, const char *text,
                           const struct image_options *options,
                           const struct byre_error *err)
{
    const bool may_probe =
        err->code == BYRE_E_POLICY && !options->probe_backing;

    report(tool, "Could not open '%s': %s%s", text, err->message,
           may_probe ? PROBE_ADVICE : "");
}

struct byre *image_open(const struct tool *tool,
                        const struct image_options *options, const char *text,
                        const char *format, uint32_t flags,
                        const struct snapshot_choice *snapshot)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    char message[KEYVAL_MESSAGE_SIZE];
    struct byre_error err = { 0 };
    struct byre *img = NULL;
    char *json_name = NULL;

    opts.flags = flags | (options->shared ? BYRE_OPEN_SHARED : 0) |
                 (options->probe_backing ? BYRE_OPEN_PROBE_BACKING : 0);
    opts.format = format;
    opts.get_secret = secrets_get;
    opts.user = (void *)&options->secrets;
    if (snapshot != NULL) {
        opts.snapshot = snapshot->any;
        opts.snapshot_id = snapshot->id;
        opts.snapshot_name = snapshot->name;
    }

    if (options->as_options) {
        json_name = keyval_to_json_name(text, message);
        if (json_name == NULL) {
            report(tool, "Could not open '%s': %s", text, message);
            return NULL;
        }
    }
    if (byre_open(json_name != NULL ? json_name : text, &opts, &img, &err) < 0)
        report_failure(tool, text, options, &err);
    free(json_name);
    return img;
}

struct byre *image_open_disk(const struct tool *tool,
                             const struct image_options *options,
                             const char *text, const char *format,
                             const struct snapshot_choice *snapshot)
{
    return image_open(tool, options, text, format, IMAGE_WITH_ALL, snapshot);
}
