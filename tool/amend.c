/* SPDX-License-Identifier: MIT */
/* byre amend: options of an image that is there already. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amend_key.h"
#include "command.h"
#include "image.h"
#include "json_out.h"
#include "progress.h"

enum { OPTION_FORCE = OPTION_OTHER };

struct amend_request {
    struct image_options image;
    struct create_list list;
    struct job_options job;
    uint32_t cache; /* CACHE_* */
    bool force;
};

/* clang-format off */
static const struct option_spec amend_specs[] = {
    { 'o', "options", "LIST", "what the image becomes: OPTION=VALUE,...; help "
      "lists them" },
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { 't', "cache", "MODE", "how it is written: none, directsync, writeback, "
      "writethrough or unsafe" },
    { OPTION_FORCE, "force", NULL, "even if a passphrase is lost" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default: nothing) or "
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
    struct amend_request *request = user;

    if (job_options_take(&request->job, id))
        return PARSE_ON;
    switch (id) {
    case 'o':
        if (!create_list_take(&request->list, tool, argument))
            return EXIT_FAILURE;
        break;
    case 't':
        if (!cache_mode_parse(argument, &request->cache)) {
            report(tool, "Invalid cache option: %s", argument);
            return EXIT_FAILURE;
        }
        break;
    case OPTION_FORCE:
        request->force = true;
        break;
    case OPTION_OUTPUT:
        if (!output_is_json(tool, argument, &request->job.json))
            return EXIT_FAILURE;
        break;
    }
    return PARSE_ON;
}

/* ---- Help on options ---- */

static int print_options(const struct tool *tool, const char *format)
{
    if (strcmp(format, "qcow2") != 0) {
        if (create_format_check(tool, NULL, format))
            report(tool, "Images of format '%s' cannot be amended", format);
        return EXIT_FAILURE;
    }
    create_options_print_amend();
    return EXIT_SUCCESS;
}

static int print_options_of(const struct tool *tool,
                            const struct amend_request *request,
                            const char *name)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;
    struct byre *img =
        image_open(tool, &request->image, name, request->image.format,
                   BYRE_OPEN_METADATA_ONLY, NULL);
    int status = EXIT_FAILURE;

    if (img == NULL)
        return status;
    if (byre_get_info(img, &info, &err) < 0)
        report(tool, "%s", err.message);
    else
        status = print_options(tool, info.format);
    byre_close(img, NULL);
    return status;
}

/* Returns PARSE_ON, with the name of the image at argv[optind], or a status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct amend_request *request)
{
    const int status = verb_parse(tool, &amend_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (request->list.text == NULL) {
        report_usage(tool, "amend", "Must specify options (-o)");
        return EXIT_FAILURE;
    }
    if (request->list.help && request->image.format != NULL)
        return print_options(tool, request->image.format);
    if (argc - optind != 1) {
        report_usage(tool, "amend", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    if (!image_options_agree(tool, &request->image, request->image.format))
        return EXIT_FAILURE;
    if (request->list.help)
        return print_options_of(tool, request, argv[optind]);
    return PARSE_ON;
}

/* ---- What is asked for ---- */

static bool is_same(const char *value, const char *stored)
{
    return value == NULL || strcmp(value, stored != NULL ? stored : "") == 0;
}

/* They may be named, but not changed. */
static bool check_backing(const struct create_values *values, struct byre *img,
                          char *message)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;
    const char *what = NULL;

    if (byre_get_info(img, &info, &err) < 0) {
        snprintf(message, CREATE_MESSAGE_SIZE, "%s", err.message);
        return false;
    }
    if (!is_same(values->texts[CREATE_BACKING_FILE], info.backing_name))
        what = "file";
    else if (!is_same(values->texts[CREATE_BACKING_FMT], info.backing_format))
        what = "format";
    if (what == NULL)
        return true;
    snprintf(message, CREATE_MESSAGE_SIZE,
             "Cannot amend the backing %s; rebase changes it", what);
    return false;
}

static bool take_number(const struct create_values *values, enum create_key key,
                        uint32_t flag, struct byre_amend_options *opts,
                        uint64_t *ret_number)
{
    const char *text = values->texts[key];

    if (text == NULL)
        return false;
    *ret_number = strtoull(text, NULL, 10);
    opts->which |= flag;
    return true;
}

static void take_switch(const struct create_values *values, enum create_key key,
                        uint32_t flag, struct byre_amend_options *opts,
                        uint32_t *ret_on)
{
    const char *text = values->texts[key];

    if (text == NULL)
        return;
    *ret_on = strcmp(text, "on") == 0;
    opts->which |= flag;
}

static bool fill_options(const struct create_values *values,
                         struct byre_amend_options *opts, char *message)
{
    uint64_t bits = 0;

    if (!version_parse(values->texts[CREATE_COMPAT], &opts->version, message))
        return false;
    if (values->texts[CREATE_COMPAT] != NULL)
        opts->which |= BYRE_AMEND_VERSION;
    if (take_number(values, CREATE_REFCOUNT_BITS, BYRE_AMEND_REFCOUNT_BITS,
                    opts, &bits))
        opts->refcount_bits = bits <= 64 ? (uint32_t)bits : UINT32_MAX;
    take_number(values, CREATE_SIZE, BYRE_AMEND_SIZE, opts, &opts->size_bytes);
    take_switch(values, CREATE_LAZY_REFCOUNTS, BYRE_AMEND_LAZY_REFCOUNTS, opts,
                &opts->lazy_refcounts);
    take_switch(values, CREATE_DATA_FILE_RAW, BYRE_AMEND_DATA_FILE_RAW, opts,
                &opts->data_file_raw);
    opts->data_file = values->texts[CREATE_DATA_FILE];
    if (opts->data_file != NULL)
        opts->which |= BYRE_AMEND_DATA_FILE;
    return true;
}

/* ---- Doing it ---- */

static int run_job(const struct amend_request *request,
                   const struct byre_amend_options *opts, struct byre *img,
                   struct byre_error *err)
{
    FILE *stream = progress_stream(&request->job);
    struct byre_job *job = NULL;
    int r;

    if (opts->which == 0)
        return BYRE_OK;
    r = byre_amend(img, opts, &job, err);
    if (r < 0)
        return r;
    r = progress_show(job, &request->job, stream, err);
    progress_finish(&request->job, stream);
    byre_job_free(job);
    return r;
}

static int amend(const struct tool *tool, struct amend_request *request,
                 const struct create_values *values, const char *name,
                 struct byre *img)
{
    struct byre_amend_options opts = BYRE_AMEND_OPTIONS_INIT;
    char message[CREATE_MESSAGE_SIZE];
    struct byre_error err = { 0 };
    struct amend_key key;
    int r = BYRE_OK;

    if (!check_backing(values, img, message) ||
        !fill_options(values, &opts, message) ||
        !amend_key_fill(values, request->force, &key, message)) {
        report(tool, "%s", message);
        return EXIT_FAILURE;
    }
    if (key.wanted)
        r = amend_key_run(&key, &request->image.secrets, name, img, &err);
    if (r == BYRE_OK)
        r = run_job(request, &opts, img, &err);
    if (r == BYRE_OK)
        return EXIT_SUCCESS;
    report(tool, "%s", err.message);
    return EXIT_FAILURE;
}

/* What the image has become. */
static json_t *describe(const char *name, struct byre *img)
{
    struct byre_info info = BYRE_INFO_INIT;
    json_t *object = json_object();

    json_object_set_new(object, "filename", json_out_string(name));
    if (byre_get_info(img, &info, NULL) < 0)
        return object;
    json_object_set_new(object, "format", json_out_string(info.format));
    json_object_set_new(object, "virtual-size",
                        json_integer((json_int_t)info.virtual_size_bytes));
    return object;
}

static uint32_t open_flags(const struct amend_request *request)
{
    return BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_BACKING |
           BYRE_OPEN_FOLLOW_DATA_FILE |
           ((request->cache & CACHE_DIRECT) != 0 ? BYRE_OPEN_DIRECT : 0) |
           ((request->cache & CACHE_NO_SYNC) != 0 ? BYRE_OPEN_NO_SYNC : 0);
}

static int open_and_amend(const struct tool *tool,
                          struct amend_request *request,
                          const struct create_values *values, const char *name)
{
    struct byre *img =
        image_open(tool, &request->image, name, request->image.format,
                   open_flags(request), NULL);
    json_t *object = NULL;
    struct byre_error err;
    int status;

    if (img == NULL)
        return EXIT_FAILURE;
    status = amend(tool, request, values, name, img);
    if (request->job.json && !request->job.quiet)
        object = describe(name, img);
    if (byre_close(img, &err) < 0 && status == EXIT_SUCCESS) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = EXIT_FAILURE;
    }
    if (status == EXIT_SUCCESS && object != NULL)
        json_out_result(stdout, &request->job, json_incref(object));
    json_decref(object);
    return status;
}

static int parse_values(const struct tool *tool, struct amend_request *request,
                        const char *name)
{
    char message[CREATE_MESSAGE_SIZE];
    struct create_values values;
    int status = EXIT_FAILURE;

    if (create_values_parse_amend(&values, &request->list, message))
        status = open_and_amend(tool, request, &values, name);
    else
        report(tool, "%s", message);
    create_values_done(&values);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct amend_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = parse_values(tool, &request, argv[optind]);
    create_list_done(&request.list);
    image_options_done(&request.image);
    return status;
}

const struct verb amend_verb = {
    .name = "amend",
    .synopsis = "[-f FMT | --image-opts] [-t CACHE] [--force] "
                "[--output=human|json] [-p] [-q] -o LIST... FILE",
    .purpose = "Change what an image is: version, refcounts, passphrases...",
    .options = amend_specs,
    .run = run,
};
