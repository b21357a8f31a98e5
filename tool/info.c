/* SPDX-License-Identifier: MIT */
/*
 * byre info: what an image is, from its metadata alone.  No file that the image
 * names is opened, except along --backing-chain, and then one after the other,
 * each for its metadata alone too.
 */
#include "info.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "image.h"
#include "json_out.h"

/* As the library bounds the chains that it opens itself. */
#define MAX_CHAIN_DEPTH 200

enum { OPTION_BACKING_CHAIN = OPTION_OTHER, OPTION_LIMITS };

struct info_request {
    struct image_options image;
    bool json;
    bool backing_chain;
    bool limits;
};

/* The files of a chain so far, by what they are and not by their names. */
struct chain {
    bool followed; /* beyond the first image */
    bool limits;   /* shown too */
    json_t *nodes;
    struct stat files[MAX_CHAIN_DEPTH];
    size_t count;
};

/* clang-format off */
static const struct option_spec info_options[] = {
    { 'f', "format", "FMT", "format of the image: raw, qcow or qcow2; else it "
      "is probed" },
    { OPTION_BACKING_CHAIN, "backing-chain", NULL,
      "describe the backing files below the image too" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 't', "cache", "CACHE", "cache mode of the image: none, writeback, ..." },
    { OPTION_LIMITS, "limits", NULL, "show what requests are aligned to" },
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct info_request *request = user;
    uint32_t cache_flags;
    bool good = true;

    switch (id) {
    case OPTION_BACKING_CHAIN:
        request->backing_chain = true;
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->json);
        break;
    case 't':
        good = cache_mode_parse(argument, &cache_flags);
        if (!good)
            report(tool, "Invalid cache option: %s", argument);
        break;
    case OPTION_LIMITS:
        request->limits = true;
        break;
    }
    return good ? PARSE_ON : EXIT_FAILURE;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct info_request *request)
{
    const int status = verb_parse(tool, &info_verb, argc, argv, &request->image,
                                  take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "info", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* ---- Chains ---- */

/* The path behind a plain name or "file:PATH". */
static const char *path_of(const char *name)
{
    return strncmp(name, "file:", 5) == 0 ? name + 5 : name;
}

/*
 * Notes the file of the next image.  Returns false after a message if the chain
 * comes back to it, or has grown too long.
 */
static bool note_file(const struct tool *tool, struct chain *chain,
                      const char *name)
{
    struct stat *file = &chain->files[chain->count];

    if (chain->count >= MAX_CHAIN_DEPTH) {
        report(tool, "The backing chain is longer than the limit of %d images",
               MAX_CHAIN_DEPTH);
        return false;
    }
    if (stat(path_of(name), file) < 0)
        memset(file, 0, sizeof(*file)); /* opening it tells what is wrong */
    for (size_t i = 0; i < chain->count && file->st_ino != 0; i++) {
        if (chain->files[i].st_ino == file->st_ino &&
            chain->files[i].st_dev == file->st_dev) {
            report(tool, "Backing file '%s' creates an infinite loop.", name);
            return false;
        }
    }
    chain->count++;
    return true;
}

/*
 * The next image of the chain in *ret_name (to be freed; NULL: `img` is the
 * last one) and *ret_format (likewise).  Returns false after a message.
 */
static bool next_in_chain(const struct tool *tool, struct byre *img,
                          char **ret_name, char **ret_format)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;

    *ret_name = NULL;
    *ret_format = NULL;
    if (byre_get_info(img, &info, &err) < 0) {
        report(tool, "%s", err.message);
        return false;
    }
    if (info.backing_name == NULL)
        return true;
    if (info.backing_resolved == NULL) {
        report(tool, "Cannot tell where the backing file '%s' of '%s' is",
               info.backing_name, info.name);
        return false;
    }
    *ret_name = strdup(info.backing_resolved);
    if (info.backing_format != NULL)
        *ret_format = strdup(info.backing_format);
    if (*ret_name != NULL &&
        (info.backing_format == NULL || *ret_format != NULL))
        return true;
    report(tool, "out of memory");
    return false;
}

/*
 * Adds the image `text` to the chain, and finds the next one as
 * next_in_chain() does if the chain is to be followed.
 */
static bool add_image(const struct tool *tool,
                      const struct image_options *options, const char *text,
                      const char *format, struct chain *chain, char **ret_name,
                      char **ret_format)
{
    const bool top = json_array_size(chain->nodes) == 0;
    const uint32_t probing =
        top || options->probe_backing ? 0 : BYRE_OPEN_NO_PROBE;
    struct byre *img = image_open(tool, options, text, format,
                                  BYRE_OPEN_METADATA_ONLY | probing, NULL);
    struct byre_error err;
    json_t *node;
    bool good;

    if (img == NULL)
        return false;
    node = info_json(img, &err);
    if (node == NULL) {
        report(tool, "Could not read '%s': %s", text, err.message);
        byre_close(img, NULL);
        return false;
    }
    if (chain->limits)
        info_add_limits(img, node);
    json_array_append_new(chain->nodes, node);
    good = !chain->followed || next_in_chain(tool, img, ret_name, ret_format);
    byre_close(img, NULL);
    return good;
}

static bool collect(const struct tool *tool, const struct info_request *request,
                    const char *text, struct chain *chain)
{
    struct image_options options = request->image;
    const char *format = options.format;
    char *name = NULL;
    char *recorded = NULL;
    bool more = true;
    bool good = true;

    chain->followed = request->backing_chain;
    chain->limits = request->limits;
    while (good && more) {
        char *next_name = NULL;
        char *next_format = NULL;

        good = note_file(tool, chain, text) &&
               add_image(tool, &options, text, format, chain, &next_name,
                         &next_format);
        free(name);
        free(recorded);
        text = name = next_name;
        format = recorded = next_format;
        /* What was said of the top image does not go for those below it. */
        options.as_options = false;
        options.secrets.passphrase_file = NULL;
        more = name != NULL;
    }
    free(name);
    free(recorded);
    return good;
}

static void print_nodes(const struct info_request *request, const json_t *nodes)
{
    if (request->json) {
        json_out(stdout,
                 request->backing_chain ? nodes : json_array_get(nodes, 0));
        return;
    }
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        if (i > 0)
            putchar('\n');
        info_print_human(json_array_get(nodes, i));
    }
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct info_request request = { 0 };
    struct chain chain = { .nodes = json_array() };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON) {
        status = EXIT_FAILURE;
        if (collect(tool, &request, argv[optind], &chain)) {
            print_nodes(&request, chain.nodes);
            status = EXIT_SUCCESS;
        }
    }
    json_decref(chain.nodes);
    image_options_done(&request.image);
    return status;
}

const struct verb info_verb = {
    .name = "info",
    .synopsis = "[-f FMT | --image-opts] [--output=human|json] "
                "[--backing-chain] [--limits] [-t CACHE] [-U] FILE",
    .purpose = "Show what an image is: format, sizes, backing file, snapshots "
               "and more.",
    .options = info_options,
    .run = run,
};
