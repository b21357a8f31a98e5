/* SPDX-License-Identifier: MIT */
/* byre create: a new image. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "create_backing.h"
#include "create_options.h"
#include "json_out.h"
#include "size.h"
#include "target.h"
#include "unfinished.h"

struct create_request {
    struct image_options image; /* its format and its secrets */
    struct create_list list;
    const char *name;
    const char *backing_file;
    const char *backing_format;
    uint64_t size_bytes; /* BYRE_NO_OFFSET: not given as an operand */
    bool backing_unchecked;
    bool quiet;
    bool json;
};

/* clang-format off */
static const struct option_spec create_specs[] = {
    { 'f', "format", "FMT", "format of the image: raw (the default), qcow or "
      "qcow2" },
    { 'o', "options", "LIST", "KEY=VALUE,... for the image; 'help' lists them" },
    { 'b', "backing", "FILE", "the image that holds what this one does not" },
    { 'B', "backing-format", "FMT", "format of that image; also -F" },
    { 'F', NULL, "FMT", NULL },
    { 'u', "backing-unsafe", NULL, "do not look at the backing file, which "
      "need not exist" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 'q', "quiet", NULL, "print nothing but errors" },
    SECRET_OPTION_SPECS,
    HELP_OPTION_SPEC,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct create_request *request = user;

    switch (id) {
    case 'o':
        if (!create_list_take(&request->list, tool, argument))
            return EXIT_FAILURE;
        break;
    case 'b':
        request->backing_file = argument;
        break;
    case 'B':
    case 'F':
        request->backing_format = argument;
        break;
    case 'u':
        request->backing_unchecked = true;
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

static int take_operands(const struct tool *tool, int count,
                         char *const *operands, struct create_request *request)
{
    if (count == 0) {
        report_usage(tool, "create", "Expecting image file name");
        return EXIT_FAILURE;
    }
    request->name = operands[0];
    if (count > 2) {
        report_usage(tool, "create", "Unexpected argument: %s", operands[2]);
        return EXIT_FAILURE;
    }
    if (count == 2 &&
        !size_option(tool, "image size", operands[1], &request->size_bytes))
        return EXIT_FAILURE;
    return PARSE_ON;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct create_request *request)
{
    const int status = verb_parse(tool, &create_verb, argc, argv,
                                  &request->image, take_option, request);
    int taken = PARSE_ON;

    if (status != PARSE_ON)
        return status;
    if (request->image.format == NULL)
        request->image.format = "raw";
    if (!request->list.help)
        taken = take_operands(tool, argc - optind, argv + optind, request);
    if (taken == PARSE_ON &&
        !create_format_check(tool, request->name, request->image.format))
        taken = EXIT_FAILURE;
    if (taken != PARSE_ON || !request->list.help)
        return taken;
    create_options_print(request->image.format, argc > optind);
    return EXIT_SUCCESS;
}

/*
 * Finds the size that was given as an operand or in a list; BYRE_NO_OFFSET if
 * there was none.  Returns false and fills `message`.
 */
static bool find_size(const struct create_request *request,
                      const struct create_values *values, uint64_t *ret_size,
                      char *message)
{
    *ret_size = request->size_bytes;
    if (values->texts[CREATE_SIZE] == NULL)
        return true;
    if (request->size_bytes != BYRE_NO_OFFSET) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "The image size must be specified only once");
        return false;
    }
    return create_values_size(values, ret_size);
}

/*
 * Fills the options of the image: what the lists say, -b and -F, and the size,
 * which may be that of the backing file.  Returns false and fills `message`.
 */
static bool fill(struct create_request *request, const char *path,
                 struct create_values *values,
                 struct byre_create_options *ret_options,
                 struct create_passphrase *ret_passphrase, char *message)
{
    uint64_t size;
    char text[32];

    if (!create_values_parse(values, request->image.format, &request->list,
                             message) ||
        !find_size(request, values, &size, message) ||
        !create_values_set_backing(values, request->backing_file,
                                   request->backing_format, message) ||
        !create_values_fill(values, &request->image.secrets, request->name,
                            ret_options, ret_passphrase, message))
        return false;
    if (request->backing_unchecked)
        ret_options->flags |= BYRE_CREATE_BACKING_UNCHECKED;
    if (ret_options->backing_name != NULL &&
        !backing_check(path, ret_options, &size, message))
        return false;
    if (size == BYRE_NO_OFFSET) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Image creation needs a size parameter");
        return false;
    }
    ret_options->virtual_size_bytes = size;
    snprintf(text, sizeof(text), "%" PRIu64, size);
    return create_values_set(values, CREATE_SIZE, text, message);
}

static void print_formatting(const struct create_request *request,
                             const struct create_values *values)
{
    printf("Formatting '");
    print_plain(request->name);
    printf("', fmt=%s", values->format);
    create_values_print(values);
    printf("\n");
    fflush(stdout); /* making it may take long */
}

static void print_json(const struct create_request *request,
                       const struct create_values *values, uint64_t size)
{
    json_t *object = json_object();

    json_object_set_new(object, "filename", json_out_string(request->name));
    json_object_set_new(object, "format", json_out_string(values->format));
    json_object_set_new(object, "virtual-size", json_integer((json_int_t)size));
    json_object_set_new(object, "options", create_values_json(values));
    json_out(stdout, object);
    json_decref(object);
}

static int create(const struct tool *tool, struct create_request *request)
{
    struct byre_create_options options = BYRE_CREATE_OPTIONS_INIT;
    struct create_passphrase passphrase = { 0 };
    struct create_values values = { 0 };
    char message[CREATE_MESSAGE_SIZE];
    struct unfinished unfinished;
    struct byre_error err;
    char *path = target_path(tool, request->name);
    int status = EXIT_FAILURE;

    if (path == NULL)
        return EXIT_FAILURE;
    if (!fill(request, path, &values, &options, &passphrase, message)) {
        report(tool, "%s: %s", request->name, message);
        goto out;
    }
    if (!request->quiet && !request->json)
        print_formatting(request, &values);
    unfinished_begin(&unfinished, path, options.data_file);
    if (byre_create(path, &options, &err) < 0)
        report(tool, "%s: %s", request->name, err.message);
    else
        status = EXIT_SUCCESS;
    unfinished_end(&unfinished);
    if (status == EXIT_SUCCESS && request->json && !request->quiet)
        print_json(request, &values, options.virtual_size_bytes);
out:
    create_passphrase_done(&passphrase);
    create_values_done(&values);
    free(path);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct create_request request = { .size_bytes = BYRE_NO_OFFSET };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = create(tool, &request);
    create_list_done(&request.list);
    image_options_done(&request.image);
    return status;
}

const struct verb create_verb = {
    .name = "create",
    .synopsis = "[-f FMT] [-o LIST] [-b FILE -B FMT] [-u] "
                "[--output=human|json] [-q] FILE [SIZE]",
    .purpose = "Make a new image, empty or on top of a backing file.",
    .options = create_specs,
    .run = run,
};
