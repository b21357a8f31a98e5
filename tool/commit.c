/* SPDX-License-Identifier: MIT */
/* byre commit: what an overlay holds, written into the image below it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image.h"
#include "json_out.h"
#include "progress.h"
#include "size.h"
#include "target.h"

struct commit_request {
    struct image_options image;
    struct job_options job;
    uint32_t open_flags;   /* BYRE_OPEN_* of the cache mode */
    const char *base_name; /* NULL: the image's own backing file */
    uint64_t rate_bytes_per_second;
    bool keep;
};

/* clang-format off */
static const struct option_spec commit_specs[] = {
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { 't', "cache", "CACHE", "cache mode of the images: writeback, none, "
      "unsafe, ..." },
    { 'd', "drop", NULL, "leave the image as it is instead of emptying it" },
    { 'b', "base", "BASE", "the image of the chain to commit into; implies "
      "-d" },
    { 'r', "rate-limit", "RATE", "at most so many bytes a second" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default: a word) or "
      "json" },
    JOB_OPTION_SPECS,
    WRITTEN_IMAGE_OPTION_SPECS,
    HELP_OPTION_SPEC,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct commit_request *request = user;
    bool good = true;

    if (job_options_take(&request->job, id))
        return PARSE_ON;
    switch (id) {
    case 't':
        good = written_cache_take(tool, argument, &request->open_flags);
        break;
    case 'd':
        request->keep = true;
        break;
    case 'b':
        request->base_name = argument;
        request->keep = true;
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->job.json);
        break;
    case 'r':
        good = size_option(tool, "rate limit", argument,
                           &request->rate_bytes_per_second);
        break;
    }
    return good ? PARSE_ON : EXIT_FAILURE;
}

/* Returns PARSE_ON, with the name of the image at argv[optind], or a status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct commit_request *request)
{
    const int status = verb_parse(tool, &commit_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "commit", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* The base is named as the image above it names it, or by its own path. */
static bool is_base(const struct byre_info *above,
                    const struct byre_info *below, const char *name)
{
    if (above->backing_name != NULL && strcmp(above->backing_name, name) == 0)
        return true;
    return below->path != NULL && (strcmp(below->path, name) == 0 ||
                                   target_is_same_file(below->path, name));
}

/* Returns NULL after a message. */
static struct byre *find_base(const struct tool *tool, struct byre *img,
                              const char *name)
{
    struct byre_info top = BYRE_INFO_INIT, above = BYRE_INFO_INIT,
                     below = BYRE_INFO_INIT;
    struct byre *next = byre_get_backing(img);

    byre_get_info(img, &top, NULL);
    for (; next != NULL; next = byre_get_backing(next)) {
        byre_get_info(img, &above, NULL);
        byre_get_info(next, &below, NULL);
        if (is_base(&above, &below, name))
            return next;
        img = next;
    }
    report(tool, "Did not find '%s' in the backing chain of '%s'", name,
           top.name);
    return NULL;
}

static int commit(const struct tool *tool, const struct commit_request *request,
                  struct byre *img)
{
    FILE *stream = progress_stream(&request->job);
    struct byre_commit_options opts = BYRE_COMMIT_OPTIONS_INIT;
    struct byre_job *job = NULL;
    struct byre_error err;
    int r;

    opts.flags = request->keep ? BYRE_COMMIT_KEEP : 0;
    opts.rate_bytes_per_second = request->rate_bytes_per_second;
    if (request->base_name != NULL) {
        opts.base = find_base(tool, img, request->base_name);
        if (opts.base == NULL)
            return EXIT_FAILURE;
    }

    r = byre_commit(img, &opts, &job, &err);
    if (r >= 0) {
        r = progress_show(job, &request->job, stream, &err);
        progress_finish(&request->job, stream);
        byre_job_free(job);
    }
    if (r < 0)
        report(tool, "%s", err.message);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void print_result(const struct commit_request *request, const char *name)
{
    json_t *object;

    if (!request->job.json) {
        printf("Image committed.\n");
        return;
    }
    object = json_object();
    json_object_set_new(object, "filename", json_out_string(name));
    if (request->base_name != NULL)
        json_object_set_new(object, "base",
                            json_out_string(request->base_name));
    json_object_set_new(object, "emptied", json_boolean(!request->keep));
    json_out_result(stdout, &request->job, object);
}

static int open_and_commit(const struct tool *tool,
                           const struct commit_request *request,
                           const char *name)
{
    struct byre *img = image_open(
        tool, &request->image, name, request->image.format,
        request->open_flags | BYRE_OPEN_FOLLOW_BACKING |
            BYRE_OPEN_FOLLOW_DATA_FILE | (request->keep ? 0 : BYRE_OPEN_WRITE),
        NULL);
    struct byre_error err;
    int status;

    if (img == NULL)
        return EXIT_FAILURE;
    status = commit(tool, request, img);
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = EXIT_FAILURE;
    }
    if (status == EXIT_SUCCESS && !request->job.quiet)
        print_result(request, name);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct commit_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_commit(tool, &request, argv[optind]);
    image_options_done(&request.image);
    return status;
}

const struct verb commit_verb = {
    .name = "commit",
    .synopsis = "[-f FMT | --image-opts] [-t CACHE] [-b BASE] [-d] [-r RATE] "
                "[--output=human|json] [-p] [-q] FILE",
    .purpose = "Write what an overlay holds into the image below it.",
    .options = commit_specs,
    .run = run,
};
