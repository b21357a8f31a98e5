/* SPDX-License-Identifier: MIT */
/* byre io: the commands that describe the image, and the one that resizes. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "info.h"
#include "io.h"

#define SECTOR_SIZE      512
#define EXTENTS_PER_CALL 64

/* The size of the disk.  Returns false after a message. */
static bool get_size(const struct io *io, const char *what, uint64_t *ret_size)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;

    if (byre_get_info(io->disk.img, &info, &err) < 0) {
        io_print_failure(io, what, &err);
        return false;
    }
    *ret_size = info.virtual_size_bytes;
    return true;
}

/* ---- length ---- */

static bool run_length(struct io *io, const struct io_command *command,
                       int argc, char **argv)
{
    char text[IO_SIZE_TEXT_SIZE];
    uint64_t size;

    (void)argc, (void)argv;
    if (!get_size(io, command->name, &size))
        return false;
    printf("%s\n", io_size_text((double)size, text));
    return true;
}

const struct io_command io_length_command = {
    .name = "length",
    .short_name = "l",
    .needs = IO_NEEDS_IMAGE,
    .purpose = "print the size of the disk",
    .run = run_length,
};

/* ---- alloc and map: what this image holds itself ---- */

/* A run of bytes that the image holds, or of bytes that it does not. */
struct run {
    uint64_t offset;
    uint64_t length;
    bool allocated;
};

/* Does something with each run.  */
typedef void take_run(const struct run *run, void *user);

static void add_extent(struct run *pending, const struct byre_extent *extent,
                       take_run *take, void *user)
{
    const bool allocated = (extent->flags & BYRE_EXTENT_ALLOCATED) != 0;

    if (pending->length > 0 && pending->allocated != allocated) {
        take(pending, user);
        pending->length = 0;
    }
    if (pending->length == 0)
        *pending =
            (struct run){ .offset = extent->offset, .allocated = allocated };
    pending->length += extent->length;
}

/* Gives all runs of a range of the disk.  Returns false after a message. */
static bool walk(const struct io *io, const char *what, uint64_t start,
                 uint64_t end, take_run *take, void *user)
{
    struct byre_extent extents[EXTENTS_PER_CALL];
    struct run pending = { 0 };
    struct byre_error err;

    while (start < end) {
        size_t count = 0;

        if (byre_extents(io->disk.img, start, end - start, BYRE_EXTENTS_SHALLOW,
                         extents, EXTENTS_PER_CALL, &count, &err) < 0) {
            io_print_failure(io, what, &err);
            return false;
        }
        for (size_t i = 0; i < count; i++)
            add_extent(&pending, &extents[i], take, user);
        start = extents[count - 1].offset + extents[count - 1].length;
    }
    if (pending.length > 0)
        take(&pending, user);
    return true;
}

static void add_allocated(const struct run *run, void *user)
{
    uint64_t *total = user;

    if (run->allocated)
        *total += run->length;
}

static bool run_alloc(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    uint64_t count = SECTOR_SIZE;
    uint64_t allocated = 0;
    char text[IO_SIZE_TEXT_SIZE];
    uint64_t offset;
    uint64_t size;

    if (!io_parse_number(argv[1], &offset) ||
        (argc > 2 && !io_parse_number(argv[2], &count)) ||
        !get_size(io, command->name, &size))
        return false;
    if (offset >= size)
        count = 0;
    else if (count > size - offset)
        count = size - offset;
    if (!walk(io, command->name, offset, offset + count, add_allocated,
              &allocated))
        return false;
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", allocated,
           count, io_size_text((double)offset, text));
    return true;
}

const struct io_command io_alloc_command = {
    .name = "alloc",
    .short_name = "a",
    .least_arguments = 1,
    .most_arguments = 2,
    .needs = IO_NEEDS_IMAGE,
    .arguments = "offset [count]",
    .purpose = "tell how much of a range the image holds itself",
    .details = "Counts bytes that the image does not leave to its backing "
               "file; of 512 bytes\nif no count is given.\n",
    .run = run_alloc,
};

static void print_run(const struct run *run, void *user)
{
    char length[IO_SIZE_TEXT_SIZE];
    char offset[IO_SIZE_TEXT_SIZE];

    (void)user;
    printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64
           ")\n",
           io_size_text((double)run->length, length), run->length,
           run->allocated ? "   " : "not",
           io_size_text((double)run->offset, offset), run->offset);
}

static bool run_map(struct io *io, const struct io_command *command, int argc,
                    char **argv)
{
    uint64_t size;

    (void)argc, (void)argv;
    return get_size(io, command->name, &size) &&
           walk(io, command->name, 0, size, print_run, NULL);
}

const struct io_command io_map_command = {
    .name = "map",
    .needs = IO_NEEDS_IMAGE,
    .purpose = "list the ranges that the image holds itself, and those between",
    .run = run_map,
};

/* ---- info ---- */

/* Where QEMU puts the state of a machine: behind the last L2 table. */
static uint64_t vm_state_offset(const struct byre_info *info)
{
    const uint64_t entry_bytes =
        (info->flags & BYRE_INFO_EXTENDED_L2) != 0 ? 16 : 8;
    const uint64_t covered =
        info->cluster_size_bytes * (info->cluster_size_bytes / entry_bytes);

    if (info->version < 2)
        return 0;
    return (info->virtual_size_bytes + covered - 1) / covered * covered;
}

static bool run_info(struct io *io, const struct io_command *command, int argc,
                     char **argv)
{
    struct byre_info info = BYRE_INFO_INIT;
    char cluster[IO_SIZE_TEXT_SIZE];
    char state[IO_SIZE_TEXT_SIZE];
    struct byre_error err;
    json_t *node;

    (void)argc, (void)argv;
    if (byre_get_info(io->disk.img, &info, &err) < 0) {
        io_print_failure(io, command->name, &err);
        return false;
    }
    node = info_json(io->disk.img, &err);
    if (node == NULL) {
        io_print_failure(io, command->name, &err);
        return false;
    }
    printf("format name: %s\ncluster size: %s\nvm state offset: %s\n",
           info.format, io_size_text((double)info.cluster_size_bytes, cluster),
           io_size_text((double)vm_state_offset(&info), state));
    info_print_specific(node);
    json_decref(node);
    return true;
}

const struct io_command io_info_command = {
    .name = "info",
    .short_name = "i",
    .needs = IO_NEEDS_IMAGE,
    .purpose = "describe the image",
    .run = run_info,
};

/* ---- truncate ---- */

static bool parse_preallocation(const char *text, uint32_t *ret_mode)
{
    static const struct {
        const char *name;
        uint32_t mode;
    } modes[] = {
        { "off", BYRE_PREALLOCATION_OFF },
        { "metadata", BYRE_PREALLOCATION_METADATA },
        { "falloc", BYRE_PREALLOCATION_FALLOC },
        { "full", BYRE_PREALLOCATION_FULL },
    };

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(text, modes[i].name) == 0) {
            *ret_mode = modes[i].mode;
            return true;
        }
    }
    return false;
}

static bool run_truncate(struct io *io, const struct io_command *command,
                         int argc, char **argv)
{
    uint32_t preallocation = BYRE_PREALLOCATION_OFF;
    struct byre_error err;
    uint64_t size;

    for (int letter = getopt(argc, argv, "m:"); letter != -1;
         letter = getopt(argc, argv, "m:")) {
        if (letter != 'm') {
            io_print_usage(command);
            return false;
        }
        if (!parse_preallocation(optarg, &preallocation)) {
            report(io->tool, "Invalid preallocation mode '%s'", optarg);
            return false;
        }
    }
    if (argc - optind != 1) {
        io_print_usage(command);
        return false;
    }
    if (!io_parse_number(argv[optind], &size))
        return false;
    if (byre_resize(io->disk.img, size, BYRE_RESIZE_SHRINK, preallocation,
                    &err) < 0) {
        report(io->tool, "%s", err.message);
        return false;
    }
    return true;
}

const struct io_command io_truncate_command = {
    .name = "truncate",
    .short_name = "t",
    .least_arguments = 1,
    .most_arguments = 3,
    .needs = IO_NEEDS_IMAGE | IO_NEEDS_WRITING,
    .arguments = "[-m prealloc_mode] off",
    .purpose = "set the size of the disk",
    .details = " -m  how space is reserved for what is added: off, metadata, "
               "falloc or full\n"
               "What lies behind a smaller size is lost.\n",
    .run = run_truncate,
};
