/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "convert.h"

/* What goes wrong where the target is encrypted, reserved or split; or NULL. */
static const char *
compression_contradiction(const struct byre_create_options *create)
{
    if (create->encryption != BYRE_ENCRYPTION_NONE)
        return "Compression and encryption not supported at the same time";
    if (create->preallocation != BYRE_PREALLOCATION_OFF)
        return "Compression and preallocation not supported at the same time";
    if (create->data_file != NULL)
        return "Compression and an external data file not supported at the "
               "same time";
    return NULL;
}

/* Returns what is wrong with the target together with the rest, or NULL. */
static const char *contradiction(const struct convert_request *request,
                                 const struct convert_target *target,
                                 size_t source_count)
{
    const struct byre_create_options *create = &target->create;
    const bool is_raw = strcmp(target->values.format, "raw") == 0;

    if (create->backing_name != NULL && source_count > 1)
        return "Having a backing file for the target makes no sense when "
               "concatenating multiple input images";
    if (create->backing_name != NULL && create->backing_format == NULL &&
        !convert_has_flag(request, BYRE_CONVERT_NO_CREATE))
        return "Use of backing file requires explicit backing format";
    if (request->bitmaps && is_raw)
        return "Format driver 'raw' does not support bitmaps";
    if (!convert_has_flag(request, BYRE_CONVERT_COMPRESS))
        return NULL;
    if (is_raw)
        return "Compression not supported for this file format";
    return compression_contradiction(create);
}

/* The name, and the format if the name does not say it. */
static bool find_name(const struct tool *tool,
                      const struct convert_request *request, const char *text,
                      struct target *ret_target)
{
    if (request->target_image_opts)
        return target_from_list(tool, text, ret_target);
    ret_target->name = target_path(tool, text);
    ret_target->format =
        request->target_format != NULL ? request->target_format : "raw";
    return ret_target->name != NULL;
}

/*
 * A list may leave its format to what is there; its options are then checked as
 * those of the format that has them all.
 */
static bool fill_create(struct convert_request *request,
                        struct convert_target *target, char *message)
{
    const char *format =
        target->target.format != NULL ? target->target.format : "qcow2";

    return create_values_parse(&target->values, format, &request->target_list,
                               message) &&
           create_values_set_backing(&target->values, request->backing_file,
                                     request->backing_format, message) &&
           create_values_fill(&target->values, &request->image.secrets,
                              target->target.name, &target->create,
                              &target->passphrase, message);
}

static void fill_open(struct convert_request *request,
                      struct convert_target *target)
{
    target->open = (struct byre_open_options)BYRE_OPEN_OPTIONS_INIT;
    target->open.flags =
        BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |
        (request->image.probe_backing ? BYRE_OPEN_PROBE_BACKING : 0);
    target->open.format = target->target.format;
    target->open.get_secret = secrets_get;
    target->open.user = &request->image.secrets;
}

bool convert_target_prepare(const struct tool *tool,
                            struct convert_request *request, const char *text,
                            size_t source_count,
                            struct convert_target *ret_target)
{
    char message[CREATE_MESSAGE_SIZE];
    const char *wrong;

    *ret_target = (struct convert_target){ 0 };
    if (!find_name(tool, request, text, &ret_target->target))
        return false;
    if (!fill_create(request, ret_target, message)) {
        report(tool, "%s", message);
        return false;
    }
    wrong = contradiction(request, ret_target, source_count);
    if (wrong != NULL) {
        report(tool, "%s", wrong);
        return false;
    }
    fill_open(request, ret_target);
    request->job.create = &ret_target->create;
    request->job.target_open = &ret_target->open;
    return true;
}

void convert_target_done(struct convert_target *target)
{
    create_passphrase_done(&target->passphrase);
    create_values_done(&target->values);
    target_done(&target->target);
}
