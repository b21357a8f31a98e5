/* SPDX-License-Identifier: MIT */
/* byre measure: how large an image would become. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "create_options.h"
#include "image.h"
#include "json_out.h"
#include "size.h"
#include "snapshot_choice.h"

struct measure_request {
    struct image_options image; /* of the source */
    struct snapshot_choice snapshot;
    json_t *snapshot_keys; /* owns what `snapshot` points to */
    struct create_list target_list;
    const char *target_format;
    uint64_t size_bytes; /* BYRE_NO_OFFSET: not given */
    bool json;
};

/* clang-format off */
static const struct option_spec measure_specs[] = {
    { 'f', "format", "FMT", "format of the image: raw, qcow or qcow2; else it "
      "is probed" },
    { 's', "size", "SIZE", "measure an empty disk of this size, not an image" },
    { 'l', "snapshot", "SNAPSHOT", "measure this snapshot: its id or name, or "
      "snapshot.id=ID,snapshot.name=NAME" },
    { 'O', "target-format", "FMT", "format of the target: raw (the default) or "
      "qcow2" },
    { 'o', "target-format-options", "LIST",
      "KEY=VALUE,... for the target; 'help' lists them" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct measure_request *request = user;
    bool good = true;

    switch (id) {
    case 's':
        good = size_option(tool, "image size", argument, &request->size_bytes);
        break;
    case 'l':
        good = snapshot_choice_take(tool, argument, &request->snapshot,
                                    &request->snapshot_keys);
        break;
    case 'O':
        request->target_format = argument;
        break;
    case 'o':
        good = create_list_take(&request->target_list, tool, argument);
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->json);
        break;
    }
    return good ? PARSE_ON : EXIT_FAILURE;
}

/* Returns what is wrong with the options together, or NULL. */
static const char *contradiction(const struct measure_request *request,
                                 int operands)
{
    const bool has_size = request->size_bytes != BYRE_NO_OFFSET;

    if (operands > 1)
        return "At most one filename argument is allowed.";
    if (operands == 0 &&
        (request->image.as_options || request->image.format != NULL ||
         request->snapshot.any != NULL || request->snapshot_keys != NULL))
        return "--image-opts, -f, and -l require a filename argument.";
    if (operands == 0 && !has_size)
        return "Either --size N or one filename must be specified.";
    if (operands == 1 && has_size)
        return "--size N cannot be used together with a filename.";
    return NULL;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct measure_request *request)
{
    const char *wrong;
    const int status = verb_parse(tool, &measure_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (!create_format_check(tool, NULL, request->target_format))
        return EXIT_FAILURE;
    if (request->target_list.help) {
        create_options_print(request->target_format, argc > optind);
        return EXIT_SUCCESS;
    }
    wrong = contradiction(request, argc - optind);
    if (wrong != NULL) {
        report(tool, "%s", wrong);
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

static void print_result(const struct measure_request *request,
                         const struct byre_measure_result *result)
{
    const bool has_bitmaps = result->bitmaps_bytes != BYRE_NO_OFFSET;
    json_t *object;

    if (!request->json) {
        printf("required size: %" PRIu64 "\n", result->required_bytes);
        printf("fully allocated size: %" PRIu64 "\n",
               result->fully_allocated_bytes);
        if (has_bitmaps)
            printf("bitmaps size: %" PRIu64 "\n", result->bitmaps_bytes);
        return;
    }
    object = json_object();
    if (has_bitmaps)
        json_object_set_new(object, "bitmaps",
                            json_integer((json_int_t)result->bitmaps_bytes));
    json_object_set_new(object, "required",
                        json_integer((json_int_t)result->required_bytes));
    json_object_set_new(
        object, "fully-allocated",
        json_integer((json_int_t)result->fully_allocated_bytes));
    json_out(stdout, object);
    json_decref(object);
}

/* A backing file makes a difference without its format, which create needs. */
static bool fill_target(struct measure_request *request, const char *name,
                        struct create_values *values,
                        struct byre_create_options *ret_options,
                        struct create_passphrase *ret_passphrase, char *message)
{
    if (!create_values_parse(values, request->target_format,
                             &request->target_list, message) ||
        !create_values_fill(values, &request->image.secrets, name, ret_options,
                            ret_passphrase, message))
        return false;
    if (ret_options->backing_name != NULL &&
        ret_options->backing_format == NULL)
        ret_options->backing_format = "raw";
    ret_options->virtual_size_bytes = request->size_bytes;
    return true;
}

static int measure(const struct tool *tool, struct measure_request *request,
                   const char *name, struct byre *source)
{
    struct byre_measure_result result = BYRE_MEASURE_RESULT_INIT;
    struct byre_create_options options = BYRE_CREATE_OPTIONS_INIT;
    struct create_passphrase passphrase = { 0 };
    struct create_values values = { 0 };
    char message[CREATE_MESSAGE_SIZE];
    struct byre_error err;
    int status = EXIT_FAILURE;

    if (!fill_target(request, name, &values, &options, &passphrase, message)) {
        report(tool, "%s", message);
    } else if (byre_measure(source, &options, &result, &err) < 0) {
        report(tool, "%s", err.message);
    } else {
        print_result(request, &result);
        status = EXIT_SUCCESS;
    }
    create_passphrase_done(&passphrase);
    create_values_done(&values);
    return status;
}

static int open_and_measure(const struct tool *tool,
                            struct measure_request *request, const char *name)
{
    struct byre *source = NULL;
    int status;

    if (name != NULL) {
        source = image_open_snapshot(tool, &request->image, name,
                                     request->image.format, IMAGE_WITH_ALL,
                                     &request->snapshot);
        if (source == NULL)
            return EXIT_FAILURE;
    }
    status = measure(tool, request, name != NULL ? name : "the target", source);
    byre_close(source, NULL);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct measure_request request = { .size_bytes = BYRE_NO_OFFSET,
                                       .target_format = "raw" };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_measure(tool, &request, argv[optind]);
    create_list_done(&request.target_list);
    json_decref(request.snapshot_keys);
    image_options_done(&request.image);
    return status;
}

const struct verb measure_verb = {
    .name = "measure",
    .synopsis = "[-f FMT | --image-opts] [-l SNAPSHOT] [-O FMT] [-o LIST] "
                "[--output=human|json] [-U] FILE | --size SIZE",
    .purpose = "Tell how large an image file would become.",
    .options = measure_specs,
    .run = run,
};
