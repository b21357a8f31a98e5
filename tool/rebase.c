/* SPDX-License-Identifier: MIT */
/* byre rebase: an overlay put on another backing file, or on none. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image.h"
#include "json_out.h"
#include "progress.h"

struct rebase_request {
    struct image_options image;
    struct job_options job;
    uint32_t open_flags;      /* BYRE_OPEN_* of the cache mode */
    bool backing_shared;      /* -U: of what is read, not of what is written */
    const char *backing_name; /* NULL: not given; "": none */
    const char *backing_format; /* or NULL */
    uint32_t flags;             /* BYRE_REBASE_* */
};

/* clang-format off */
static const struct option_spec rebase_specs[] = {
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { 't', "cache", "CACHE", "cache mode of the image: writeback, none, "
      "unsafe, ..." },
    { 'b', "backing", "NAME", "the new backing file; \"\" for none" },
    { 'B', "backing-format", "FMT", "format of the new backing file" },
    { 'F', NULL, "FMT", NULL },
    { 'T', "backing-cache", "CACHE", "cache mode of the backing files; has no "
      "effect" },
    { 'u', "backing-unsafe", NULL, "change the name only; the content is your "
      "business" },
    { 'c', "compress", NULL, "compress what is copied" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default: nothing) or "
      "json" },
    JOB_OPTION_SPECS,
    WRITTEN_IMAGE_OPTION_SPECS,
    { 'U', "force-share", NULL, "read the new backing file even while another "
      "program writes to it" },
    HELP_OPTION_SPEC,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct rebase_request *request = user;
    bool good = true;

    if (job_options_take(&request->job, id))
        return PARSE_ON;
    switch (id) {
    case 't':
        good = written_cache_take(tool, argument, &request->open_flags);
        break;
    case 'T':
        good = source_cache_take(tool, argument);
        break;
    case 'b':
        request->backing_name = argument;
        break;
    case 'B':
    case 'F':
        request->backing_format = argument;
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->job.json);
        break;
    case 'u':
        request->flags |= BYRE_REBASE_UNSAFE;
        break;
    case 'c':
        request->flags |= BYRE_REBASE_COMPRESS;
        break;
    }
    return good ? PARSE_ON : EXIT_FAILURE;
}

static bool has_backing(const struct rebase_request *request)
{
    return request->backing_name != NULL && request->backing_name[0] != '\0';
}

static bool is_unsafe(const struct rebase_request *request)
{
    return (request->flags & BYRE_REBASE_UNSAFE) != 0;
}

/* Returns PARSE_ON, with the name of the image at argv[optind], or a status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct rebase_request *request)
{
    const int status = verb_parse(tool, &rebase_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "rebase", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    if (request->backing_name == NULL && !is_unsafe(request)) {
        report_usage(tool, "rebase",
                     "Name the new backing file with -b, or \"\" for none");
        return EXIT_FAILURE;
    }
    if (has_backing(request) && request->backing_format == NULL) {
        report(tool,
               "Could not change the backing file to '%s': backing format "
               "must be specified; name it with -B",
               request->backing_name);
        return EXIT_FAILURE;
    }
    request->backing_shared = request->image.shared;
    request->image.shared = false;
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

static struct byre_open_options open_options(struct rebase_request *request)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;

    opts.flags = BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |
                 (request->backing_shared ? BYRE_OPEN_SHARED : 0) |
                 (request->image.probe_backing ? BYRE_OPEN_PROBE_BACKING : 0);
    opts.get_secret = secrets_get;
    opts.user = &request->image.secrets;
    return opts;
}

static int rebase(const struct tool *tool, struct rebase_request *request,
                  struct byre *img)
{
    FILE *stream = progress_stream(&request->job);
    struct byre_rebase_options opts = BYRE_REBASE_OPTIONS_INIT;
    const struct byre_open_options open = open_options(request);
    struct byre_job *job = NULL;
    struct byre_error err;
    int r;

    opts.flags = request->flags;
    opts.backing_name = has_backing(request) ? request->backing_name : NULL;
    opts.backing_format = request->backing_format;
    opts.backing_open = &open;
    r = byre_rebase(img, &opts, &job, &err);
    if (r >= 0) {
        r = progress_show(job, &request->job, stream, &err);
        progress_finish(&request->job, stream);
        byre_job_free(job);
    }
    if (r < 0)
        report(tool, "%s", err.message);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void print_json(const struct rebase_request *request, const char *name)
{
    json_t *object = json_object();

    json_object_set_new(object, "filename", json_out_string(name));
    if (has_backing(request)) {
        json_object_set_new(object, "backing-filename",
                            json_out_string(request->backing_name));
        json_object_set_new(object, "backing-filename-format",
                            json_out_string(request->backing_format));
    }
    json_out_result(stdout, &request->job, object);
}

/* The old backing file is opened only where its content counts. */
static int open_and_rebase(const struct tool *tool,
                           struct rebase_request *request, const char *name)
{
    struct byre *img = image_open(
        tool, &request->image, name, request->image.format,
        request->open_flags | BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_DATA_FILE |
            (is_unsafe(request) ? BYRE_OPEN_NO_BACKING
                                : BYRE_OPEN_FOLLOW_BACKING),
        NULL);
    struct byre_error err;
    int status;

    if (img == NULL)
        return EXIT_FAILURE;
    status = rebase(tool, request, img);
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = EXIT_FAILURE;
    }
    if (status == EXIT_SUCCESS && request->job.json && !request->job.quiet)
        print_json(request, name);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct rebase_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_rebase(tool, &request, argv[optind]);
    image_options_done(&request.image);
    return status;
}

const struct verb rebase_verb = {
    .name = "rebase",
    .synopsis =
        "[-f FMT | --image-opts] [-t CACHE] [-b NAME] [-B FMT] "
        "[-T CACHE] [-u] [-c] [-U] [--output=human|json] [-p] [-q] FILE",
    .purpose = "Put an overlay on another backing file, or on none.",
    .options = rebase_specs,
    .run = run,
};
