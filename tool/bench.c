/* SPDX-License-Identifier: MIT */
/* byre bench: equal requests to a disk, and how long they take. */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_run.h"
#include "command.h"
#include "image.h"
#include "io_cache.h"
#include "json_out.h"
#include "size.h"

#define DEFAULT_COUNT       75000
#define DEFAULT_DEPTH       64
#define DEFAULT_BUFFER_SIZE 4096

enum { OPTION_PATTERN = OPTION_OTHER, OPTION_FLUSH_INTERVAL, OPTION_NO_DRAIN };

struct bench_request {
    struct image_options image;
    struct io_cache cache;
    struct bench_plan plan;
    bool json;
};

/* clang-format off */
static const struct option_spec bench_options[] = {
    { 'f', "format", "FMT",
      "format of the image: raw, qcow or qcow2; else it is probed" },
    { 'c', "count", "COUNT", "so many requests (75000)" },
    { 'd', "depth", "DEPTH", "so many at a time (64)" },
    { 'o', "offset", "OFFSET", "where the first one begins (0)" },
    { 's', "buffer-size", "SIZE", "bytes of a request (4k)" },
    { 'S', "step-size", "SIZE",
      "from the start of one request to that of the next (its size)" },
    { 'w', "write", NULL, "write instead of reading" },
    { OPTION_PATTERN, "pattern", "BYTE", "write this byte (0)" },
    { OPTION_FLUSH_INTERVAL, "flush-interval", "COUNT",
      "with -w: flush after so many requests" },
    { OPTION_NO_DRAIN, "no-drain", NULL,
      "do not wait for the requests before a flush" },
    { 't', "cache", "CACHE", "none, directsync, writeback (the default), "
      "writethrough or unsafe" },
    { 'i', "aio", "MODE", "threads, native or io_uring; has no effect" },
    { 'n', "native", NULL, "taken as in qemu-img; has no effect" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 'q', "quiet", NULL, "taken as in qemu-img; has no effect" },
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

/* ---- Arguments of single options ---- */

static bool take_number(const struct tool *tool, const char *what,
                        const char *argument, uint64_t least, uint64_t most,
                        uint64_t *ret_number)
{
    char *end;
    const unsigned long long number = strtoull(argument, &end, 0);

    if (end == argument || *end != '\0' || strchr(argument, '-') != NULL ||
        number < least || number > most) {
        report(tool,
               "Invalid %s specified: '%s' is not a number from %" PRIu64
               " to %" PRIu64,
               what, argument, least, most);
        return false;
    }
    *ret_number = number;
    return true;
}

static bool take_size(const struct tool *tool, const char *what,
                      const char *argument, uint64_t *ret_size)
{
    uint64_t size;

    if (!size_option(tool, what, argument, &size))
        return false;
    if (size > INT_MAX) {
        report(tool, "Invalid %s specified. Must be between 0 and %d.", what,
               INT_MAX);
        return false;
    }
    *ret_size = size;
    return true;
}

static bool take_pattern(const struct tool *tool, const char *argument,
                         struct bench_request *request)
{
    uint64_t byte;

    if (!take_number(tool, "pattern byte", argument, 0, UINT8_MAX, &byte))
        return false;
    request->plan.pattern = (uint8_t)byte;
    return true;
}

static bool take_cache(const struct tool *tool, const char *argument,
                       struct bench_request *request)
{
    if (io_cache_parse(argument, &request->cache))
        return true;
    report(tool, "Invalid cache mode");
    return false;
}

static bool take_aio(const struct tool *tool, const char *argument)
{
    if (io_aio_is_known(argument))
        return true;
    report(tool, "Invalid aio option: %s", argument);
    return false;
}

static bool take_argument(const struct tool *tool, int id, const char *argument,
                          struct bench_request *request)
{
    switch (id) {
    case 'c':
        return take_number(tool, "request count", argument, 0, INT_MAX,
                           &request->plan.count);
    case 'd':
        return take_number(tool, "queue depth", argument, 1, INT_MAX,
                           &request->plan.depth);
    case 'o':
        return size_option(tool, "offset", argument, &request->plan.offset);
    case 's':
        return take_size(tool, "buffer size", argument,
                         &request->plan.buffer_size);
    case 'S':
        return take_size(tool, "step_size", argument, &request->plan.step);
    case OPTION_PATTERN:
        return take_pattern(tool, argument, request);
    case OPTION_FLUSH_INTERVAL:
        return take_number(tool, "flush interval", argument, 0, INT_MAX,
                           &request->plan.flush_interval);
    case 't':
        return take_cache(tool, argument, request);
    case 'i':
        return take_aio(tool, argument);
    case OPTION_OUTPUT:
        return output_is_json(tool, argument, &request->json);
    default:
        return true; /* -n, -q: nothing to do */
    }
}

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct bench_request *request = user;

    if (id == 'w')
        request->plan.write = true;
    else if (id == OPTION_NO_DRAIN)
        request->plan.no_drain = true;
    else if (!take_argument(tool, id, argument, request))
        return EXIT_FAILURE;
    return PARSE_ON;
}

/* Returns what is wrong with the options together, or NULL. */
static const char *contradiction(const struct bench_request *request)
{
    if (!request->plan.write && request->plan.flush_interval > 0)
        return "--flush-interval is only available in write tests";
    if (request->plan.flush_interval > 0 &&
        request->plan.flush_interval < request->plan.depth)
        return "Flush interval can't be smaller than depth";
    if (request->plan.write && request->image.shared)
        return "force-share=on can only be used with read-only images";
    return NULL;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct bench_request *request)
{
    const int status = verb_parse(tool, &bench_verb, argc, argv,
                                  &request->image, take_option, request);
    const char *wrong;

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "bench", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    request->plan.write_flags = request->cache.write_flags;
    if (request->plan.step == 0)
        request->plan.step = request->plan.buffer_size;
    wrong = contradiction(request);
    if (wrong != NULL) {
        report(tool, "%s", wrong);
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* ---- The verb ---- */

static void print_plan(const struct bench_plan *plan)
{
    printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
           " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64
           ")\n",
           plan->count, plan->write ? "write" : "read", plan->buffer_size,
           plan->depth, plan->offset, plan->step);
    if (plan->flush_interval > 0)
        printf("Sending flush every %" PRIu64 " requests\n",
               plan->flush_interval);
    fflush(stdout);
}

static void print_json(const struct bench_plan *plan, double seconds)
{
    json_t *object = json_object();

    json_object_set_new(object, "write", json_boolean(plan->write));
    json_object_set_new(object, "requests",
                        json_integer((json_int_t)plan->count));
    json_object_set_new(object, "buffer-size",
                        json_integer((json_int_t)plan->buffer_size));
    json_object_set_new(object, "depth", json_integer((json_int_t)plan->depth));
    json_object_set_new(object, "seconds", json_real(seconds));
    json_out(stdout, object);
    json_decref(object);
}

/* Returns false after a message. */
static bool bench_image(const struct tool *tool, const struct bench_plan *plan,
                        bool json, struct byre *img)
{
    struct byre_error err;
    double seconds;

    if (!json)
        print_plan(plan);
    if (bench_run(plan, img, &seconds, &err) < 0) {
        report(tool, "Failed request: %s", err.message);
        return false;
    }
    if (json)
        print_json(plan, seconds);
    else
        printf("Run completed in %.3f seconds.\n", seconds);
    return true;
}

static bool run_on(const struct tool *tool, const struct bench_request *request,
                   const char *name)
{
    const uint32_t flags =
        BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |
        request->cache.open_flags | (request->plan.write ? BYRE_OPEN_WRITE : 0);
    struct byre *img = image_open(tool, &request->image, name,
                                  request->image.format, flags, NULL);
    struct byre_error err;
    bool good;

    if (img == NULL)
        return false;
    good = bench_image(tool, &request->plan, request->json, img);
    if (byre_close(img, &err) >= 0)
        return good;
    report(tool, "Could not close '%s': %s", name, err.message);
    return false;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct bench_request request = {
        .plan.count = DEFAULT_COUNT,
        .plan.depth = DEFAULT_DEPTH,
        .plan.buffer_size = DEFAULT_BUFFER_SIZE,
    };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status =
            run_on(tool, &request, argv[optind]) ? EXIT_SUCCESS : EXIT_FAILURE;
    image_options_done(&request.image);
    return status;
}

const struct verb bench_verb = {
    .name = "bench",
    .synopsis = "[OPTION]... FILE",
    .purpose = "Measures how fast a disk is read or written.",
    .options = bench_options,
    .run = run,
};
