/* SPDX-License-Identifier: MIT */
/* byre checksum: of the bytes of a disk, whatever holds them. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "json_out.h"
#include "progress.h"
#include "snapshot_choice.h"
#include "workers.h"

#define DEFAULT_ALGORITHM "sha256"

struct checksum_request {
    struct image_options image;
    struct snapshot_choice snapshot;
    json_t *snapshot_keys; /* owns what `snapshot` points to */
    struct byre_checksum_options job;
    struct job_options output;
};

/* clang-format off */
static const struct option_spec checksum_specs[] = {
    { 'f', "format", "FMT", "format of the image: raw, qcow or qcow2; else it "
      "is probed" },
    { 'a', "algorithm", "HASH", "sha256 (the default), sha512, sha384, sha224, "
      "sha1, md5 or ripemd160" },
    { 'l', "snapshot", "SNAPSHOT", "of this snapshot: its id or name, or "
      "snapshot.id=ID,snapshot.name=NAME" },
    { 'm', "parallel", "N", "compute with so many threads, 1 to 64" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 'T', "cache", "CACHE", "cache mode of the image: none, writeback, ..." },
    JOB_OPTION_SPECS,
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct checksum_request *request = user;
    bool good = true;

    if (job_options_take(&request->output, id))
        return PARSE_ON;
    switch (id) {
    case 'a':
        request->job.algorithm = argument;
        break;
    case 'l':
        good = snapshot_choice_take(tool, argument, &request->snapshot,
                                    &request->snapshot_keys);
        break;
    case 'm':
        good = workers_take(tool, argument, MAX_JOB_WORKERS,
                            &request->job.workers);
        break;
    case 'T':
        good = source_cache_take(tool, argument);
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->output.json);
        break;
    }
    return good ? PARSE_ON : EXIT_FAILURE;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct checksum_request *request)
{
    const int status = verb_parse(tool, &checksum_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "checksum", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

static void hex(const uint8_t *digest, size_t length, char *ret_text)
{
    for (size_t i = 0; i < length; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", digest[i]);
}

static void print_json(const struct job_options *output, const char *algorithm,
                       const char *digest, const char *name,
                       const struct byre_info *info)
{
    json_t *object = json_object();

    json_object_set_new(object, "filename", json_out_string(name));
    json_object_set_new(object, "algorithm", json_out_string(algorithm));
    json_object_set_new(object, "checksum", json_out_string(digest));
    json_object_set_new(object, "virtual-size",
                        json_integer((json_int_t)info->virtual_size_bytes));
    json_out_result(stdout, output, object);
}

/* The human line is that of sha256sum. */
static bool print_result(const struct tool *tool,
                         const struct checksum_request *request,
                         const char *name, struct byre *img,
                         const struct byre_job *job)
{
    const char *algorithm = request->job.algorithm;
    struct byre_info info = BYRE_INFO_INIT;
    uint8_t digest[BYRE_MAX_DIGEST_BYTES];
    char text[2 * BYRE_MAX_DIGEST_BYTES + 1] = "";
    struct byre_error err;
    size_t length = 0;

    if (byre_checksum_get_result(job, digest, &length, &err) < 0 ||
        byre_get_info(img, &info, &err) < 0) {
        report(tool, "%s", err.message);
        return false;
    }
    hex(digest, length, text);
    if (request->output.json)
        print_json(&request->output,
                   algorithm != NULL ? algorithm : DEFAULT_ALGORITHM, text,
                   name, &info);
    else
        print_line(stdout, "%s  %s", text, name);
    return true;
}

static int checksum(const struct tool *tool,
                    const struct checksum_request *request, const char *name,
                    struct byre *img)
{
    FILE *stream = progress_stream(&request->output);
    struct byre_job *job = NULL;
    struct byre_error err;
    int status = EXIT_FAILURE;
    int r;

    r = byre_checksum(img, &request->job, &job, &err);
    if (r >= 0) {
        r = progress_show(job, &request->output, stream, &err);
        progress_finish(&request->output, stream);
    }
    if (r < 0)
        report(tool, "%s", err.message);
    else if (print_result(tool, request, name, img, job))
        status = EXIT_SUCCESS;
    byre_job_free(job);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct checksum_request request = { .job = BYRE_CHECKSUM_OPTIONS_INIT };
    struct byre *img;
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON) {
        status = EXIT_FAILURE;
        img = image_open_snapshot(tool, &request.image, argv[optind],
                                  request.image.format, IMAGE_WITH_ALL,
                                  &request.snapshot);
        if (img != NULL)
            status = checksum(tool, &request, argv[optind], img);
        byre_close(img, NULL);
    }
    json_decref(request.snapshot_keys);
    image_options_done(&request.image);
    return status;
}

const struct verb checksum_verb = {
    .name = "checksum",
    .synopsis = "[-f FMT | --image-opts] [-a HASH] [-l SNAPSHOT] [-m N] "
                "[--output=human|json] [-T CACHE] [-p] [-q] [-U] FILE",
    .purpose = "Compute the checksum of a disk: the same for every format and "
               "layout.",
    .options = checksum_specs,
    .run = run,
};
