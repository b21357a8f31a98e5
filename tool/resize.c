/* SPDX-License-Identifier: MIT */
/* byre resize: a disk made larger or smaller. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "create_options.h"
#include "image.h"
#include "json_out.h"
#include "size.h"

#define SECTOR_SIZE UINT64_C(512)

enum { OPTION_SHRINK = OPTION_OTHER, OPTION_PREALLOCATION };

struct resize_request {
    struct image_options image;
    uint64_t amount_bytes;
    char sign; /* '+' and '-': the amount is a difference; else '\0' */
    uint32_t preallocation;
    bool shrink;
    bool quiet;
    bool json;
};

/* clang-format off */
static const struct option_spec resize_specs[] = {
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { OPTION_SHRINK, "shrink", NULL, "the disk may lose what lies behind its "
      "new end" },
    { OPTION_PREALLOCATION, "preallocation", "MODE",
      "space for what is added: off, metadata, falloc or full" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 'q', "quiet", NULL, "print nothing but errors" },
    WRITTEN_IMAGE_OPTION_SPECS,
    HELP_OPTION_SPEC,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct resize_request *request = user;

    switch (id) {
    case OPTION_SHRINK:
        request->shrink = true;
        break;
    case OPTION_PREALLOCATION:
        if (!preallocation_parse(argument, &request->preallocation)) {
            report(tool, "Invalid preallocation mode '%s'", argument);
            return EXIT_FAILURE;
        }
        break;
    case 'q':
        request->quiet = true;
        break;
    case OPTION_OUTPUT:
        if (!output_is_json(tool, argument, &request->json))
            return EXIT_FAILURE;
        break;
    }
    return PARSE_ON;
}

/*
 * Takes the last word that looks like "-5G" from the command line, for getopt
 * would read options in it, and returns it; NULL if there is none.
 */
static const char *take_negative_size(int *argc, char **argv)
{
    for (int i = *argc - 1; i > 0; i--) {
        const char *word = argv[i];

        if (word[0] != '-' || !(isdigit((unsigned char)word[1])))
            continue;
        memmove(&argv[i], &argv[i + 1],
                (size_t)(*argc - i) * sizeof(argv[0])); /* with the NULL */
        --*argc;
        return word;
    }
    return NULL;
}

static bool take_size(const struct tool *tool, const char *text,
                      struct resize_request *request)
{
    const bool is_difference = text[0] == '+' || text[0] == '-';

    request->sign = is_difference ? text[0] : '\0';
    return size_option(tool, "image size", is_difference ? text + 1 : text,
                       &request->amount_bytes);
}

/* Returns PARSE_ON, with the name of the image at argv[optind], or a status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct resize_request *request)
{
    const char *negative = take_negative_size(&argc, argv);
    const int status = verb_parse(tool, &resize_verb, argc, argv,
                                  &request->image, take_option, request);
    const int operands = argc - optind + (negative != NULL ? 1 : 0);

    if (status != PARSE_ON)
        return status;
    if (operands != 2) {
        report_usage(tool, "resize", "Expecting image file name and size");
        return EXIT_FAILURE;
    }
    if (!image_options_agree(tool, &request->image, request->image.format) ||
        !take_size(tool, negative != NULL ? negative : argv[optind + 1],
                   request))
        return EXIT_FAILURE;
    return PARSE_ON;
}

/* The new size.  Returns false after a message. */
static bool find_size(const struct tool *tool,
                      const struct resize_request *request,
                      uint64_t current_bytes, uint64_t *ret_size)
{
    const uint64_t amount = request->amount_bytes;
    bool positive;

    if (request->sign == '-') {
        positive = amount < current_bytes;
        *ret_size = current_bytes - amount;
    } else {
        *ret_size = request->sign == '+' ? current_bytes + amount : amount;
        positive = *ret_size > 0;
    }
    if (!positive) {
        report(tool, "New image size must be positive");
    } else if (*ret_size > INT64_MAX) {
        report(tool,
               "Invalid image size specified. Must be between 0 and %lld.",
               (long long)INT64_MAX);
        return false;
    }
    return positive;
}

/* Whether the options allow the change.  Returns false after a message. */
static bool may_become(const struct tool *tool,
                       const struct resize_request *request,
                       uint64_t current_bytes, uint64_t size_bytes)
{
    if (size_bytes <= current_bytes &&
        request->preallocation != BYRE_PREALLOCATION_OFF) {
        report(tool, "Preallocation can only be used for growing images");
        return false;
    }
    if (size_bytes >= current_bytes || request->shrink)
        return true;
    report(tool, "Use the --shrink option to perform a shrink operation.");
    report(tool, "warning: Shrinking an image will delete all data beyond the "
                 "shrunken image's end. Before performing such an operation, "
                 "make sure there is no important data there.");
    return false;
}

static int resize(const struct tool *tool, const struct resize_request *request,
                  struct byre *img, uint64_t *ret_before, uint64_t *ret_after)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;
    uint64_t size;

    if (byre_get_info(img, &info, &err) < 0) {
        report(tool, "%s", err.message);
        return EXIT_FAILURE;
    }
    if (!find_size(tool, request, info.virtual_size_bytes, &size))
        return EXIT_FAILURE;
    /* A raw disk ends with a sector, wherever its file ends. */
    if (strcmp(info.format, "raw") == 0)
        size = (size + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
    if (!may_become(tool, request, info.virtual_size_bytes, size))
        return EXIT_FAILURE;
    if (byre_resize(img, size, request->shrink ? BYRE_RESIZE_SHRINK : 0,
                    request->preallocation, &err) < 0) {
        report(tool, "%s", err.message);
        return EXIT_FAILURE;
    }
    *ret_before = info.virtual_size_bytes;
    *ret_after = size;
    return EXIT_SUCCESS;
}

static void print_result(const struct resize_request *request, const char *name,
                         uint64_t before, uint64_t after)
{
    json_t *object;

    if (request->quiet)
        return;
    if (!request->json) {
        printf("Image resized.\n");
        return;
    }
    object = json_object();
    json_object_set_new(object, "filename", json_out_string(name));
    json_object_set_new(object, "virtual-size",
                        json_integer((json_int_t)after));
    json_object_set_new(object, "old-virtual-size",
                        json_integer((json_int_t)before));
    json_out(stdout, object);
    json_decref(object);
}

static int open_and_resize(const struct tool *tool,
                           const struct resize_request *request,
                           const char *name)
{
    struct byre *img = image_open(
        tool, &request->image, name, request->image.format,
        BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE,
        NULL);
    uint64_t before = 0;
    uint64_t after = 0;
    struct byre_error err;
    int status;

    if (img == NULL)
        return EXIT_FAILURE;
    status = resize(tool, request, img, &before, &after);
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = EXIT_FAILURE;
    }
    if (status == EXIT_SUCCESS)
        print_result(request, name, before, after);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct resize_request request = { .preallocation = BYRE_PREALLOCATION_OFF };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_resize(tool, &request, argv[optind]);
    image_options_done(&request.image);
    return status;
}

const struct verb resize_verb = {
    .name = "resize",
    .synopsis = "[-f FMT | --image-opts] [--shrink] [--preallocation=MODE] "
                "[--output=human|json] [-q] FILE [+|-]SIZE",
    .purpose = "Make a disk larger or smaller.",
    .options = resize_specs,
    .run = run,
};
