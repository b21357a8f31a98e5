/* SPDX-License-Identifier: MIT */
/* byre dd: a part of a disk, into an image of that size. */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "create_options.h"
#include "image.h"
#include "json_out.h"
#include "size.h"
#include "target.h"
#include "unfinished.h"

#define BUFFER_BYTES ((size_t)1 << 20)

struct dd_request {
    struct image_options image; /* of the input */
    const char *output_format;
    const char *input;
    const char *output;
    uint64_t block_bytes;
    uint64_t count;        /* blocks; UINT64_MAX: all */
    uint64_t skip;         /* blocks */
    uint64_t input_bytes;  /* BYRE_NO_OFFSET: all of the disk */
    uint64_t output_bytes; /* BYRE_NO_OFFSET: what is copied */
    bool no_create;
    bool json;
};

/* The range of the input that is copied, to the start of the output. */
struct part {
    uint64_t offset;
    uint64_t length;
};

/* clang-format off */
static const struct option_spec dd_specs[] = {
    { 'f', "format", "FMT", "format of the input; else it is probed" },
    { 'O', "output-format", "FMT", "format of the output: raw (the default), "
      "qcow or qcow2" },
    { 'n', "no-create", NULL, "write into the existing output" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default: nothing), or json "
      "for a summary" },
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct dd_request *request = user;

    if (id == OPTION_OUTPUT)
        return output_is_json(tool, argument, &request->json) ? PARSE_ON
                                                              : EXIT_FAILURE;
    if (id == 'O')
        request->output_format = argument;
    else if (id == 'n')
        request->no_create = true;
    return PARSE_ON;
}

/* ---- Operands ---- */

static bool take_block_size(const struct tool *tool, const char *text,
                            uint64_t *ret_bytes)
{
    if (!size_option(tool, "bs", text, ret_bytes))
        return false;
    if (*ret_bytes > 0 && *ret_bytes <= INT_MAX)
        return true;
    report(tool, "Invalid bs specified. Must be between 1 and %d.", INT_MAX);
    return false;
}

static bool take_value(const struct tool *tool, struct dd_request *request,
                       const char *key, const char *value)
{
    if (strcmp(key, "if") == 0) {
        request->input = value;
        return true;
    }
    if (strcmp(key, "of") == 0) {
        request->output = value;
        return true;
    }
    if (strcmp(key, "bs") == 0)
        return take_block_size(tool, value, &request->block_bytes);
    if (strcmp(key, "count") == 0)
        return size_option(tool, key, value, &request->count);
    if (strcmp(key, "skip") == 0)
        return size_option(tool, key, value, &request->skip);
    if (strcmp(key, "isize") == 0)
        return size_option(tool, key, value, &request->input_bytes);
    if (strcmp(key, "osize") == 0)
        return size_option(tool, key, value, &request->output_bytes);
    report(tool, "unrecognized operand %s", key);
    return false;
}

static bool take_operand(const struct tool *tool, struct dd_request *request,
                         const char *operand)
{
    const size_t length = strcspn(operand, "=");
    char key[16];

    if (operand[length] == '\0' || length >= sizeof(key)) {
        report(tool, "unrecognized operand %s", operand);
        return false;
    }
    snprintf(key, sizeof(key), "%.*s", (int)length, operand);
    return take_value(tool, request, key, operand + length + 1);
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct dd_request *request)
{
    const int status = verb_parse(tool, &dd_verb, argc, argv, &request->image,
                                  take_option, request);

    if (status != PARSE_ON)
        return status;
    for (int i = optind; i < argc; i++)
        if (!take_operand(tool, request, argv[i]))
            return EXIT_FAILURE;
    if (request->input == NULL || request->output == NULL) {
        report(tool, "Must specify both input and output files");
        return EXIT_FAILURE;
    }
    if (!create_format_check(tool, NULL, request->output_format))
        return EXIT_FAILURE;
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* ---- What is copied ---- */

/* `blocks` in bytes, at most `most_bytes` of them. */
static uint64_t blocks_to_bytes(const struct dd_request *request,
                                uint64_t blocks, uint64_t most_bytes)
{
    return blocks > most_bytes / request->block_bytes
               ? most_bytes
               : blocks * request->block_bytes;
}

/*
 * As in qemu-img, `count` is counted from the start of the disk, what is
 * skipped included.  Returns false after a message.
 */
static bool find_part(const struct tool *tool, const struct dd_request *request,
                      struct byre *img, struct part *ret_part)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;
    uint64_t end;
    uint64_t skip;

    if (byre_get_info(img, &info, &err) < 0) {
        report(tool, "%s", err.message);
        return false;
    }
    end = info.virtual_size_bytes;
    if (request->input_bytes != BYRE_NO_OFFSET && request->input_bytes > end) {
        report(tool,
               "'%s' has %" PRIu64 " bytes, fewer than the %" PRIu64
               " of isize",
               request->input, end, request->input_bytes);
        return false;
    }
    if (request->input_bytes < end)
        end = request->input_bytes;
    end = blocks_to_bytes(request, request->count, end);
    skip = blocks_to_bytes(request, request->skip, UINT64_MAX);
    if (skip > end) {
        report(tool, "%s: cannot skip to specified offset", request->input);
        skip = end;
    }
    *ret_part = (struct part){ .offset = skip, .length = end - skip };
    return true;
}

static bool uses_file(const char *used, const char *path)
{
    return used != NULL && target_is_same_file(used, path);
}

/* Whether the disk is read from the file that shall be written. */
static bool is_read_from(struct byre *img, const char *path)
{
    for (; img != NULL; img = byre_get_backing(img)) {
        struct byre_info info = BYRE_INFO_INIT;

        if (byre_get_info(img, &info, NULL) >= 0 &&
            (uses_file(info.path, path) || uses_file(info.data_file, path)))
            return true;
    }
    return false;
}

/* ---- The copy ---- */

struct copy {
    struct byre *input;
    struct byre *output;
    struct part part;
    bool is_new; /* the output reads as zeroes */
    unsigned char *buf;
};

static int copy_data(const struct copy *copy, uint64_t offset, uint64_t length,
                     struct byre_error *err)
{
    int r = BYRE_OK;

    while (length > 0 && r == BYRE_OK) {
        const size_t n = length < BUFFER_BYTES ? (size_t)length : BUFFER_BYTES;

        r = byre_read(copy->input, offset, copy->buf, n, err);
        if (r == BYRE_OK)
            r = byre_write(copy->output, offset - copy->part.offset, copy->buf,
                           n, 0, err);
        offset += n;
        length -= n;
    }
    return r;
}

static int copy_extent(const struct copy *copy,
                       const struct byre_extent *extent, struct byre_error *err)
{
    if ((extent->flags & BYRE_EXTENT_ZERO) == 0)
        return copy_data(copy, extent->offset, extent->length, err);
    if (copy->is_new)
        return BYRE_OK;
    return byre_zero(copy->output, extent->offset - copy->part.offset,
                     extent->length, BYRE_WRITE_MAY_UNMAP, err);
}

static int copy_part(const struct copy *copy, struct byre_error *err)
{
    const uint64_t end = copy->part.offset + copy->part.length;
    uint64_t offset = copy->part.offset;

    while (offset < end) {
        struct byre_extent extent;
        size_t count;
        int r;

        r = byre_extents(copy->input, offset, end - offset, 0, &extent, 1,
                         &count, err);
        if (r < 0)
            return r;
        r = copy_extent(copy, &extent, err);
        if (r < 0)
            return r;
        offset += extent.length;
    }
    return BYRE_OK;
}

/* Makes the output, unless it is there.  Returns false after a message. */
static bool make_output(const struct tool *tool,
                        const struct dd_request *request, const char *path,
                        uint64_t length)
{
    struct byre_create_options options = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err;

    if (request->no_create)
        return true;
    options.format = request->output_format;
    options.flags = BYRE_CREATE_ROUND_SIZE;
    options.virtual_size_bytes = length;
    if (request->output_bytes != BYRE_NO_OFFSET) {
        if (request->output_bytes < length) {
            report(tool,
                   "osize is %" PRIu64 ", too few bytes for the %" PRIu64
                   " that are copied",
                   request->output_bytes, length);
            return false;
        }
        options.virtual_size_bytes = request->output_bytes;
    }
    if (byre_create(path, &options, &err) >= 0)
        return true;
    report(tool, "%s: error while creating output image: %s", request->output,
           err.message);
    return false;
}

static bool output_is_large_enough(const struct tool *tool,
                                   const struct dd_request *request,
                                   const struct copy *copy)
{
    struct byre_info info = BYRE_INFO_INIT;

    if (byre_get_info(copy->output, &info, NULL) < 0 ||
        info.virtual_size_bytes >= copy->part.length)
        return true;
    report(tool,
           "'%s' has %" PRIu64 " bytes, too few for the %" PRIu64
           " that are copied",
           request->output, info.virtual_size_bytes, copy->part.length);
    return false;
}

/* Writes the part into the image at `path`.  Returns false after a message. */
static bool fill_output(const struct tool *tool,
                        const struct dd_request *request, const char *path,
                        struct copy *copy)
{
    struct image_options options = request->image;
    struct byre_error err;
    bool good;

    options.as_options = false;
    options.shared = false;
    copy->output = image_open(tool, &options, path, request->output_format,
                              BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_BACKING |
                                  BYRE_OPEN_FOLLOW_DATA_FILE,
                              NULL);
    if (copy->output == NULL)
        return false;
    good = output_is_large_enough(tool, request, copy);
    if (good && copy_part(copy, &err) < 0) {
        report(tool, "%s", err.message);
        good = false;
    }
    if (byre_close(copy->output, &err) < 0 && good) {
        report(tool, "%s: %s", request->output, err.message);
        good = false;
    }
    return good;
}

/* A block device is what it was before, not zeroes. */
static bool reads_zero(const struct dd_request *request, const char *path)
{
    return !request->no_create && !target_is_device(path);
}

static bool copy_to(const struct tool *tool, const struct dd_request *request,
                    const char *path, struct copy *copy)
{
    const bool existed = target_exists(path);
    struct unfinished unfinished;
    bool good;

    if (is_read_from(copy->input, path)) {
        report(tool, "The output '%s' is a file that the input is read from",
               request->output);
        return false;
    }
    copy->is_new = reads_zero(request, path);
    unfinished_begin(&unfinished, path, NULL);
    good = make_output(tool, request, path, copy->part.length);
    if (good) {
        good = fill_output(tool, request, path, copy);
        if (!good && !existed)
            unlink(path);
    }
    unfinished_end(&unfinished);
    return good;
}

static void print_summary(const struct dd_request *request,
                          const struct part *part)
{
    json_t *object;

    if (!request->json)
        return;
    object = json_object();
    json_object_set_new(object, "filename", json_out_string(request->output));
    json_object_set_new(object, "format",
                        json_out_string(request->output_format));
    json_object_set_new(object, "offset",
                        json_integer((json_int_t)part->offset));
    json_object_set_new(object, "length",
                        json_integer((json_int_t)part->length));
    json_out(stdout, object);
    json_decref(object);
}

static int dd(const struct tool *tool, const struct dd_request *request)
{
    struct copy copy = { .buf = malloc(BUFFER_BYTES) };
    char *path = target_path(tool, request->output);
    int status = EXIT_FAILURE;

    if (copy.buf == NULL)
        report(tool, "out of memory");
    if (path != NULL && copy.buf != NULL)
        copy.input = image_open_disk(tool, &request->image, request->input,
                                     request->image.format, NULL);
    if (copy.input != NULL &&
        find_part(tool, request, copy.input, &copy.part) &&
        copy_to(tool, request, path, &copy)) {
        print_summary(request, &copy.part);
        status = EXIT_SUCCESS;
    }
    byre_close(copy.input, NULL);
    free(path);
    free(copy.buf);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct dd_request request = {
        .output_format = "raw",
        .block_bytes = 512,
        .count = UINT64_MAX,
        .input_bytes = BYRE_NO_OFFSET,
        .output_bytes = BYRE_NO_OFFSET,
    };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = dd(tool, &request);
    image_options_done(&request.image);
    return status;
}

const struct verb dd_verb = {
    .name = "dd",
    .synopsis = "[-f FMT | --image-opts] [-O FMT] [-n] [--output=human|json] "
                "[-U] [bs=SIZE] "
                "[count=N] [skip=N] [isize=SIZE] [osize=SIZE] if=FILE of=FILE",
    .purpose = "Copy a part of a disk into an image.",
    .options = dd_specs,
    .run = run,
};
