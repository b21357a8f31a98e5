/* SPDX-License-Identifier: MIT */
/*
 * byre map: where the bytes of a disk are.  Extents are joined as long as they
 * would print alike, so that an answer does not depend on how many of them one
 * call of the library gives.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image.h"
#include "size.h"

#define EXTENTS_PER_CALL 256

struct map_request {
    struct image_options image;
    bool json;
    uint64_t start;
    uint64_t length; /* UINT64_MAX: to the end */
};

/* Prints extents as they come; `pending` waits for a neighbour to join. */
struct map_output {
    const struct tool *tool;
    bool json;
    bool started;
    bool has_pending;
    struct byre_extent pending;
};

/* clang-format off */
static const struct option_spec map_options[] = {
    { 'f', "format", "FMT", "format of the image: raw, qcow or qcow2; else it "
      "is probed" },
    { 's', "start-offset", "OFFSET", "begin at this offset of the disk" },
    { 'l', "max-length", "LENGTH", "describe at most so many bytes" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct map_request *request = user;
    bool good = true;

    switch (id) {
    case 's':
        good = size_option(tool, "start offset", argument, &request->start);
        break;
    case 'l':
        good = size_option(tool, "max length", argument, &request->length);
        break;
    case OPTION_OUTPUT:
        good = output_is_json(tool, argument, &request->json);
        break;
    }
    return good ? PARSE_ON : EXIT_FAILURE;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct map_request *request)
{
    const int status = verb_parse(tool, &map_verb, argc, argv, &request->image,
                                  take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "map", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* Offsets of bytes that are stored as they are read. */
static bool has_offset(const struct byre_extent *extent)
{
    return extent->host_offset != BYRE_NO_OFFSET &&
           (extent->flags & (BYRE_EXTENT_COMPRESSED | BYRE_EXTENT_ENCRYPTED)) ==
               0;
}

static bool same_file(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

static bool joins(const struct byre_extent *a, const struct byre_extent *b)
{
    if (a->flags != b->flags || a->depth != b->depth ||
        has_offset(a) != has_offset(b) || !same_file(a->file, b->file))
        return false;
    return !has_offset(a) || a->host_offset + a->length == b->host_offset;
}

static const char *truth(uint32_t flags, uint32_t bit)
{
    return (flags & bit) != 0 ? "true" : "false";
}

static void print_json(struct map_output *output)
{
    const struct byre_extent *extent = &output->pending;

    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
           ", \"depth\": %" PRIu32 ", \"present\": %s, \"zero\": %s"
           ", \"data\": %s, \"compressed\": %s",
           output->started ? ",\n" : "[", extent->offset, extent->length,
           extent->depth, truth(extent->flags, BYRE_EXTENT_ALLOCATED),
           truth(extent->flags, BYRE_EXTENT_ZERO),
           truth(extent->flags, BYRE_EXTENT_DATA),
           truth(extent->flags, BYRE_EXTENT_COMPRESSED));
    if (has_offset(extent))
        printf(", \"offset\": %" PRIu64, extent->host_offset);
    putchar('}');
    output->started = true;
}

static void print_row(const struct byre_extent *extent)
{
    char *file = strdup(extent->file);

    if (file != NULL)
        byre_text_make_plain(file);
    printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", extent->offset,
           extent->length, extent->host_offset, file != NULL ? file : "?");
    free(file);
}

static bool print_human(struct map_output *output)
{
    const struct byre_extent *extent = &output->pending;

    if ((extent->flags & BYRE_EXTENT_DATA) == 0)
        return true;
    if (!has_offset(extent) || extent->file == NULL) {
        report(output->tool,
               "File contains external, encrypted or compressed clusters.");
        return false;
    }
    if ((extent->flags & BYRE_EXTENT_ZERO) == 0)
        print_row(extent);
    return true;
}

/* Prints what is pending.  Returns false after a message. */
static bool flush(struct map_output *output)
{
    if (!output->has_pending)
        return true;
    output->has_pending = false;
    if (!output->json)
        return print_human(output);
    print_json(output);
    return true;
}

static bool add(struct map_output *output, const struct byre_extent *extent)
{
    if (output->has_pending && joins(&output->pending, extent)) {
        output->pending.length += extent->length;
        return true;
    }
    if (!flush(output))
        return false;
    output->pending = *extent;
    output->has_pending = true;
    return true;
}

static bool print_range(struct map_output *output, struct byre *img,
                        uint64_t start, uint64_t end)
{
    struct byre_extent extents[EXTENTS_PER_CALL];
    struct byre_error err;

    while (start < end) {
        size_t count = 0;

        if (byre_extents(img, start, end - start, 0, extents, EXTENTS_PER_CALL,
                         &count, &err) < 0) {
            report(output->tool,
                   "Failed to read the map at offset %" PRIu64 ": %s", start,
                   err.message);
            return false;
        }
        for (size_t i = 0; i < count; i++)
            if (!add(output, &extents[i]))
                return false;
        start = extents[count - 1].offset + extents[count - 1].length;
    }
    return flush(output);
}

/* A range of nothing is one entry of nothing, as QEMU has it. */
static void end_json(struct map_output *output, uint64_t start)
{
    if (!output->started) {
        output->pending = (struct byre_extent){
            .offset = start,
            .host_offset = BYRE_NO_OFFSET,
        };
        print_json(output);
    }
    puts("]");
}

static bool print_map(const struct tool *tool,
                      const struct map_request *request, struct byre *img)
{
    struct map_output output = { .tool = tool, .json = request->json };
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;
    uint64_t end;
    bool good;

    if (byre_get_info(img, &info, &err) < 0) {
        report(tool, "%s", err.message);
        return false;
    }
    end = info.virtual_size_bytes;
    if (request->start < end && request->length < end - request->start)
        end = request->start + request->length;

    if (!request->json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    good = print_range(&output, img, request->start, end);
    if (good && request->json)
        end_json(&output, request->start);
    return good;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct map_request request = { .length = UINT64_MAX };
    struct byre *img;
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON) {
        status = EXIT_FAILURE;
        img = image_open_disk(tool, &request.image, argv[optind],
                              request.image.format, NULL);
        if (img != NULL && print_map(tool, &request, img))
            status = EXIT_SUCCESS;
        byre_close(img, NULL);
    }
    image_options_done(&request.image);
    return status;
}

const struct verb map_verb = {
    .name = "map",
    .synopsis = "[-f FMT | --image-opts] [-s OFFSET] [-l LENGTH] "
                "[--output=human|json] [-U] FILE",
    .purpose = "Show where the bytes of a disk are: in which file, at which "
               "offset, or nowhere.",
    .options = map_options,
    .run = run,
};
