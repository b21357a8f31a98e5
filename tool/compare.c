/* SPDX-License-Identifier: MIT */
/* byre compare: whether two disks read alike. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "image.h"
#include "json_out.h"
#include "progress.h"

/* What the exit statuses say; callers tell them apart. */
enum {
    STATUS_IDENTICAL = 0,
    STATUS_DIFFERENT = 1, /* a wrong command line as well */
    STATUS_OPEN = 2,
    STATUS_MAP = 3,
    STATUS_READ = 4
};

struct compare_request {
    struct image_options image; /* its format is that of the first image */
    const char *second_format;
    struct job_options job;
    bool strict;
};

/* clang-format off */
static const struct option_spec compare_options[] = {
    { 'f', "a-format", "FMT", "format of the first image; else it is probed" },
    { 'F', "b-format", "FMT", "format of the second image; else it is probed" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 's', "strict", NULL, "sizes and allocation must agree too" },
    { 'T', "cache", "CACHE", "cache mode of the images: none, writeback, ..." },
    JOB_OPTION_SPECS,
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct compare_request *request = user;

    if (job_options_take(&request->job, id))
        return PARSE_ON;
    switch (id) {
    case 'F':
        request->second_format = argument;
        break;
    case 's':
        request->strict = true;
        break;
    case OPTION_OUTPUT:
        if (!output_is_json(tool, argument, &request->job.json))
            return EXIT_FAILURE;
        break;
    case 'T':
        if (!source_cache_take(tool, argument))
            return STATUS_OPEN;
        break;
    }
    return PARSE_ON;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct compare_request *request)
{
    const int status = verb_parse(tool, &compare_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 2) {
        report_usage(tool, "compare", "Expecting two image file names");
        return EXIT_FAILURE;
    }
    if (!image_options_agree(tool, &request->image, request->image.format) ||
        !image_options_agree(tool, &request->image, request->second_format))
        return STATUS_OPEN;
    return PARSE_ON;
}

static int failed_status(const struct tool *tool, struct byre_job *job,
                         const struct byre_error *err)
{
    struct byre_compare_result result = BYRE_COMPARE_RESULT_INIT;

    report(tool, "%s", err->message);
    if (byre_compare_get_result(job, &result, NULL) < 0)
        return STATUS_READ;
    switch (result.failed_step) {
    case BYRE_COMPARE_MAP_FIRST:
    case BYRE_COMPARE_MAP_SECOND:
        return STATUS_MAP;
    default:
        return STATUS_READ;
    }
}

/* The size of the part that both disks have, in *ret_common. */
static bool sizes_differ(struct byre *first, struct byre *second,
                         uint64_t *ret_common)
{
    struct byre_info a = BYRE_INFO_INIT;
    struct byre_info b = BYRE_INFO_INIT;

    *ret_common = UINT64_MAX;
    if (byre_get_info(first, &a, NULL) < 0 ||
        byre_get_info(second, &b, NULL) < 0)
        return false;
    *ret_common = a.virtual_size_bytes < b.virtual_size_bytes
                      ? a.virtual_size_bytes
                      : b.virtual_size_bytes;
    return a.virtual_size_bytes != b.virtual_size_bytes;
}

static void print_json(const struct job_options *options, struct byre *first,
                       struct byre *second,
                       const struct byre_compare_result *result)
{
    static const char *const outcomes[] = {
        [BYRE_COMPARE_EQUAL] = "identical",
        [BYRE_COMPARE_CONTENT] = "content",
        [BYRE_COMPARE_STATUS] = "status",
        [BYRE_COMPARE_SIZE] = "size",
    };
    struct byre *const images[] = { first, second };
    json_t *object = json_object();
    json_t *sizes = json_array();

    json_object_set_new(object, "identical",
                        json_boolean(result->outcome == BYRE_COMPARE_EQUAL));
    json_object_set_new(object, "outcome",
                        json_string(outcomes[result->outcome]));
    if (result->outcome == BYRE_COMPARE_CONTENT ||
        result->outcome == BYRE_COMPARE_STATUS)
        json_object_set_new(object, "offset",
                            json_integer((json_int_t)result->offset));
    for (size_t i = 0; i < 2; i++) {
        struct byre_info info = BYRE_INFO_INIT;

        if (byre_get_info(images[i], &info, NULL) < 0)
            continue;
        json_array_append_new(
            sizes, json_integer((json_int_t)info.virtual_size_bytes));
    }
    json_object_set_new(object, "virtual-sizes", sizes);
    json_out_result(stdout, options, object);
}

static int print_result(const struct tool *tool,
                        const struct job_options *options, struct byre *first,
                        struct byre *second, const struct byre_job *job)
{
    struct byre_compare_result result = BYRE_COMPARE_RESULT_INIT;
    struct byre_error err;
    uint64_t common;
    bool differ;

    if (byre_compare_get_result(job, &result, &err) < 0) {
        report(tool, "%s", err.message);
        return STATUS_READ;
    }
    if (options->json)
        print_json(options, first, second, &result);
    if (options->quiet || options->json)
        return result.outcome == BYRE_COMPARE_EQUAL ? STATUS_IDENTICAL
                                                    : STATUS_DIFFERENT;
    /* Said once the common part has proved equal. */
    differ = sizes_differ(first, second, &common);
    if (differ &&
        (result.outcome == BYRE_COMPARE_EQUAL ||
         (result.outcome == BYRE_COMPARE_CONTENT && result.offset >= common)))
        printf("Warning: Image size mismatch!\n");
    switch (result.outcome) {
    case BYRE_COMPARE_EQUAL:
        printf("Images are identical.\n");
        return STATUS_IDENTICAL;
    case BYRE_COMPARE_SIZE:
        printf("Strict mode: Image size mismatch!\n");
        break;
    case BYRE_COMPARE_STATUS:
        printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n",
               result.offset);
        break;
    default:
        printf("Content mismatch at offset %" PRIu64 "!\n", result.offset);
        break;
    }
    return STATUS_DIFFERENT;
}

static int compare(const struct tool *tool,
                   const struct compare_request *request, struct byre *first,
                   struct byre *second)
{
    FILE *stream = progress_stream(&request->job);
    struct byre_job *job = NULL;
    struct byre_error err;
    int status = STATUS_READ;

    if (byre_compare(first, second, request->strict ? BYRE_COMPARE_STRICT : 0,
                     &job, &err) < 0) {
        report(tool, "%s", err.message);
        return status;
    }
    if (progress_show(job, &request->job, stream, &err) < 0)
        status = failed_status(tool, job, &err);
    else
        status = print_result(tool, &request->job, first, second, job);
    progress_finish(&request->job, stream);
    byre_job_free(job);
    return status;
}

static int open_and_compare(const struct tool *tool,
                            const struct compare_request *request,
                            const char *first_name, const char *second_name)
{
    struct byre *second = NULL;
    int status = STATUS_OPEN;
    struct byre *first = image_open_disk(tool, &request->image, first_name,
                                         request->image.format, NULL);

    if (first != NULL)
        second = image_open_disk(tool, &request->image, second_name,
                                 request->second_format, NULL);
    if (second != NULL)
        status = compare(tool, request, first, second);
    byre_close(second, NULL);
    byre_close(first, NULL);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct compare_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status =
            open_and_compare(tool, &request, argv[optind], argv[optind + 1]);
    image_options_done(&request.image);
    return status;
}

const struct verb compare_verb = {
    .name = "compare",
    .synopsis = "[-f FMT] [-F FMT] [--image-opts] [-s] [-T CACHE] "
                "[--output=human|json] [-p] [-q] [-U] FILE1 FILE2",
    .purpose = "Tell whether two disks hold the same bytes.",
    .options = compare_options,
    .run = run,
};
