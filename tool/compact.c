/* SPDX-License-Identifier: MIT */
/* byre compact: an image's file made as small as it can be, in place. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "image.h"
#include "json_out.h"
#include "progress.h"

struct compact_request {
    struct image_options image;
    struct job_options job;
};

/* clang-format off */
static const struct option_spec compact_specs[] = {
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { OPTION_OUTPUT, "output", "FORM", "what is printed: human or json" },
    JOB_OPTION_SPECS,
    WRITTEN_IMAGE_OPTION_SPECS,
    HELP_OPTION_SPEC,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct compact_request *request = user;

    if (job_options_take(&request->job, id))
        return PARSE_ON;
    if (id == OPTION_OUTPUT &&
        !output_is_json(tool, argument, &request->job.json))
        return EXIT_FAILURE;
    return PARSE_ON;
}

/* Returns PARSE_ON, with the name of the image at argv[optind], or a status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct compact_request *request)
{
    const int status = verb_parse(tool, &compact_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "compact", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* ---- What came of it ---- */

static bool print_json(const struct job_options *options,
                       const struct byre_compact_result *result,
                       const char *name)
{
    json_t *value = json_object();
    bool complete =
        value != NULL &&
        json_object_set_new(value, "filename", json_out_string(name)) == 0;

    const struct {
        const char *key;
        uint64_t number;
    } members[] = {
        { "before-bytes", result->before_bytes },
        { "after-bytes", result->after_bytes },
        { "freed-clusters", result->freed_clusters },
        { "moved-clusters", result->moved_clusters },
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        complete =
            complete && json_object_set_new(
                            value, members[i].key,
                            json_integer((json_int_t)members[i].number)) == 0;
    if (complete)
        json_out_result(stdout, options, value);
    else
        json_decref(value);
    return complete;
}

static int print_result(const struct tool *tool,
                        const struct compact_request *request,
                        const struct byre_job *job, const char *name)
{
    struct byre_compact_result result = BYRE_COMPACT_RESULT_INIT;
    struct byre_error err;

    if (byre_compact_get_result(job, &result, &err) < 0) {
        report(tool, "%s", err.message);
        return EXIT_FAILURE;
    }
    if (request->job.json && !print_json(&request->job, &result, name)) {
        report(tool, "out of memory");
        return EXIT_FAILURE;
    }
    if (!request->job.json && !request->job.quiet)
        printf("Image compacted: %" PRIu64 " bytes before, %" PRIu64
               " after; %" PRIu64 " clusters freed, %" PRIu64 " moved.\n",
               result.before_bytes, result.after_bytes, result.freed_clusters,
               result.moved_clusters);
    return EXIT_SUCCESS;
}

/* ---- The work ---- */

static int compact(const struct tool *tool,
                   const struct compact_request *request, struct byre *img,
                   struct byre_job **ret_job)
{
    FILE *stream = progress_stream(&request->job);
    struct byre_error err;
    int r;

    r = byre_compact(img, ret_job, &err);
    if (r == BYRE_OK)
        r = progress_show(*ret_job, &request->job, stream, &err);
    progress_finish(&request->job, stream);
    if (r < 0)
        report(tool, "%s", err.message);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int open_and_compact(const struct tool *tool,
                            const struct compact_request *request,
                            const char *name)
{
    struct byre *img = image_open(
        tool, &request->image, name, request->image.format,
        BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE,
        NULL);
    struct byre_job *job = NULL;
    struct byre_error err;
    int status;

    if (img == NULL)
        return EXIT_FAILURE;
    status = compact(tool, request, img, &job);
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = EXIT_FAILURE;
    }
    if (status == EXIT_SUCCESS)
        status = print_result(tool, request, job, name);
    byre_job_free(job);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct compact_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_compact(tool, &request, argv[optind]);
    image_options_done(&request.image);
    return status;
}

const struct verb compact_verb = {
    .name = "compact",
    .synopsis = "[-f FMT | --image-opts] [--output=FORM] [-p] [-q] FILE",
    .purpose = "Make an image's file as small as it can be, in place.",
    .options = compact_specs,
    .run = run,
};
