/* SPDX-License-Identifier: MIT */
/* byre check: whether an image contradicts itself, and its repair. */
#include "check.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image.h"
#include "progress.h"

/* What the exit statuses say; callers tell them apart. */
enum {
    STATUS_GOOD = 0,
    STATUS_FAILED = 1, /* the check did not come to its end */
    STATUS_CORRUPT = 2,
    STATUS_LEAKS = 3,
    STATUS_NO_CHECKS = 63 /* the format has nothing to check */
};

enum { OPTION_FINDINGS = OPTION_OTHER };

struct check_request {
    struct image_options image;
    struct job_options job;
    uint32_t repair; /* BYRE_CHECK_* */
    bool findings;
};

/* clang-format off */
static const struct option_spec check_specs[] = {
    { 'f', "format", "FMT", "format of the image: qcow or qcow2; else it is "
      "probed" },
    { 'r', "repair", "WHAT", "leaks: give back what nothing refers to; all: "
      "repair what can be" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { OPTION_FINDINGS, "findings", NULL,
      "list what was found in the JSON instead of on standard error" },
    { 'T', "cache", "CACHE", "cache mode of the image: none, writeback, ..." },
    JOB_OPTION_SPECS,
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

/* ---- The command line ---- */

static bool take_repair(const struct tool *tool, const char *argument,
                        uint32_t *ret_repair)
{
    if (strcmp(argument, "leaks") == 0)
        *ret_repair = BYRE_CHECK_REPAIR_LEAKS;
    else if (strcmp(argument, "all") == 0)
        *ret_repair = BYRE_CHECK_REPAIR_ALL;
    else {
        report_usage(tool, "check",
                     "-r (--repair) takes 'leaks' or 'all', not '%s'",
                     argument);
        return false;
    }
    return true;
}

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct check_request *request = user;
    bool good = true;

    if (job_options_take(&request->job, id))
        return PARSE_ON;
    switch (id) {
    case 'r':
        good = take_repair(tool, argument, &request->repair);
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->job.json);
        break;
    case OPTION_FINDINGS:
        request->findings = true;
        break;
    case 'T':
        good = source_cache_take(tool, argument);
        break;
    }
    return good ? PARSE_ON : STATUS_FAILED;
}

/* What cannot be asked for together.  Returns false after a message. */
static bool options_agree(const struct tool *tool,
                          const struct check_request *request)
{
    if (request->findings && !request->job.json) {
        report_usage(tool, "check", "--findings needs --output=json");
        return false;
    }
    if (request->image.shared && request->repair != 0) {
        report_usage(tool, "check",
                     "-U excludes -r: what another program may be writing to "
                     "is not repaired");
        return false;
    }
    return image_options_agree(tool, &request->image, request->image.format);
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct check_request *request)
{
    const int status = verb_parse(tool, &check_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "check", "Expecting one image file name");
        return STATUS_FAILED;
    }
    return options_agree(tool, request) ? PARSE_ON : STATUS_FAILED;
}

/* ---- The work ---- */

static int status_of(const struct tool *tool,
                     const struct byre_check_result *result)
{
    if (result->check_errors != 0) {
        report(tool, "Check failed");
        return STATUS_FAILED;
    }
    if (result->corruptions != 0)
        return STATUS_CORRUPT;
    return result->leaks != 0 ? STATUS_LEAKS : STATUS_GOOD;
}

static int print_result(const struct tool *tool,
                        const struct check_request *request,
                        const struct byre_job *job,
                        struct check_summary *summary)
{
    struct byre_check_result result = BYRE_CHECK_RESULT_INIT;
    struct byre_error err;

    if (byre_check_get_result(job, &result, &err) < 0) {
        report(tool, "Check failed: %s", err.message);
        return STATUS_FAILED;
    }
    summary->result = &result;
    if (!request->job.quiet && request->job.json) {
        check_print_json(summary, &request->job);
    } else if (!request->job.quiet) {
        check_print_repairs(&result);
        check_print_human(&result);
    }
    return status_of(tool, &result);
}

/* Takes over `img`.  Returns the exit status. */
static int check(const struct tool *tool, const struct check_request *request,
                 struct byre *img, const struct byre_check_options *opts,
                 struct check_summary *summary)
{
    FILE *stream = progress_stream(&request->job);
    struct byre_job *job = NULL;
    struct byre_error err;
    int status = STATUS_FAILED;
    int r;

    if (byre_check(img, opts, &job, &err) < 0) {
        report(tool, "Check failed: %s", err.message);
        return status;
    }
    r = progress_show(job, &request->job, stream, &err);
    progress_finish(&request->job, stream);
    if (r < 0)
        report(tool, "Check failed: %s", err.message);
    else
        status = print_result(tool, request, job, summary);
    byre_job_free(job);
    return status;
}

/* The format of the image, or NULL after a message if it has no checks. */
static const char *format_of(const struct tool *tool, struct byre *img)
{
    struct byre_info info = BYRE_INFO_INIT;

    if (byre_get_info(img, &info, NULL) == 0 && strcmp(info.format, "raw") != 0)
        return info.format;
    report(tool, "This image format does not support checks");
    return NULL;
}

static int check_opened(const struct tool *tool,
                        const struct check_request *request, const char *name,
                        struct byre *img)
{
    struct byre_check_options opts = BYRE_CHECK_OPTIONS_INIT;
    struct check_log log = {
        .list = request->findings ? json_array() : NULL,
    };
    struct check_summary summary = {
        .name = name,
        .format = format_of(tool, img),
        .log = &log,
    };
    int status = STATUS_NO_CHECKS;

    opts.flags = request->repair;
    opts.found = check_log_found;
    opts.user = &log;
    if (summary.format != NULL)
        status = check(tool, request, img, &opts, &summary);
    json_decref(log.list);
    return status;
}

static int open_and_check(const struct tool *tool,
                          const struct check_request *request, const char *name)
{
    const uint32_t write = request->repair != 0 ? BYRE_OPEN_WRITE : 0;
    struct byre *img =
        image_open(tool, &request->image, name, request->image.format,
                   BYRE_OPEN_CHECK | write, NULL);
    struct byre_error err;
    int status;

    if (img == NULL)
        return STATUS_FAILED;
    status = check_opened(tool, request, name, img);
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = STATUS_FAILED;
    }
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct check_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_check(tool, &request, argv[optind]);
    image_options_done(&request.image);
    return status;
}

const struct verb check_verb = {
    .name = "check",
    .synopsis = "[-f FMT | --image-opts] [-r leaks|all] [--output=FORM] "
                "[--findings] [-T CACHE] [-p] [-q] [-U] FILE",
    .purpose = "Tell whether an image contradicts itself, and repair it.",
    .options = check_specs,
    .run = run,
};
