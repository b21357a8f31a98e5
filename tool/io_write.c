/* SPDX-License-Identifier: MIT */
/* byre io: the commands that write, discard and flush. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "io_request.h"

/* ---- Calls ---- */

static uint32_t durable_flags(const struct io *io, const struct io_flags *flags)
{
    return io->disk.mode.cache.write_flags | (flags->fua ? BYRE_WRITE_FUA : 0);
}

static uint32_t write_flags(const struct io *io, const struct io_flags *flags)
{
    return durable_flags(io, flags) |
           (flags->compressed ? BYRE_WRITE_COMPRESSED : 0);
}

/* QEMU takes -c together with -z, and has nothing to compress then. */
static uint32_t zero_flags(const struct io *io, const struct io_flags *flags)
{
    const bool unmap = flags->unmap && !io->disk.mode.ignore_discards;

    return durable_flags(io, flags) | (unmap ? BYRE_WRITE_MAY_UNMAP : 0) |
           (flags->fast ? BYRE_WRITE_FAST_ZERO : 0);
}

/* Ends a request that began at `begin`: tells how it went. */
static bool finish(const struct io *io, const char *what, bool good,
                   const struct io_range *range, uint64_t begin,
                   const struct io_flags *flags, const struct byre_error *err)
{
    const uint64_t nsec = io_clock() - begin;

    if (!good) {
        io_print_failure(io, what, err);
        return false;
    }
    io_print_done("wrote", range, nsec, flags);
    return true;
}

static bool write_zeroes(const struct io *io, const char *what,
                         const struct io_flags *flags,
                         const struct io_range *range)
{
    const uint64_t begin = io_clock();
    struct byre_error err;
    const bool good = io_check_range(io, range, &err) &&
                      byre_zero(io->disk.img, range->offset, range->count,
                                zero_flags(io, flags), &err) >= 0;

    return finish(io, what, good, range, begin, flags, &err);
}

static bool write_from(const struct io *io, const char *what,
                       const struct io_flags *flags,
                       const struct io_range *range, const uint8_t *buf)
{
    const uint64_t begin = io_clock();
    struct byre_error err;
    const bool good =
        io_check_range(io, range, &err) &&
        byre_write(io->disk.img, range->offset, buf, (size_t)range->count,
                   write_flags(io, flags), &err) >= 0;

    return finish(io, what, good, range, begin, flags, &err);
}

static bool do_write(const struct io *io, const char *what,
                     const struct io_flags *flags, const struct io_range *range)
{
    uint8_t *buf;
    bool good;

    if (flags->zero)
        return write_zeroes(io, what, flags, range);
    buf = io_new_buffer(io, range->count, flags->pattern);
    if (buf == NULL)
        return false;
    good = (flags->source == NULL ||
            io_fill_from_source(flags->source, buf, (size_t)range->count)) &&
           write_from(io, what, flags, range, buf);
    free(buf);
    return good;
}

/* ---- write ---- */

/* Whether the options fit together.  Returns false after a message. */
static bool check_flags(const struct io_flags *flags)
{
    const int contents =
        flags->zero + flags->has_pattern + (flags->source != NULL);

    return io_agree(!flags->vm_state || !flags->zero,
                    "-b and -z cannot be specified at the same time") &&
           io_agree(!flags->fua || !(flags->vm_state || flags->compressed),
                    "-f and -b or -c cannot be specified at the same time") &&
           io_agree(!flags->fast || flags->zero,
                    "-n requires -z to be specified") &&
           io_agree(!flags->unmap || flags->zero,
                    "-u requires -z to be specified") &&
           io_agree(contents <= 1, "Only one of -z, -P, and -s can be "
                                   "specified at the same time");
}

static bool run_write(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    struct io_flags flags;
    struct io_range range;

    if (!io_parse_flags(command, argc, argv, "bcCfnpP:qs:uz", &flags) ||
        !check_flags(&flags) || !io_parse_range(command, argc, argv, &range))
        return false;
    if (!flags.fast &&
        !io_is_within_limit(range.count, argv[optind + 1], " without -n"))
        return false;
    if ((flags.vm_state || flags.compressed) &&
        (!io_is_sector_aligned(range.offset, "offset") ||
         !io_is_sector_aligned(range.count, "count")))
        return false;
    if (flags.vm_state)
        return io_refuse_vm_state(io, "write");
    return do_write(io, "write", &flags, &range);
}

const struct io_command io_write_command = {
    .name = "write",
    .short_name = "w",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE | IO_NEEDS_WRITING,
    .arguments = "[-bcCfnpquz] [-P pattern | -s source_file] off len",
    .purpose = "write bytes to the disk",
    .details =
        " -b       the state of the machine instead of the disk (refused)\n"
        " -c       store whole clusters compressed\n"
        " -C       print the figures in one line, separated by commas\n"
        " -f       return only when it is durable\n"
        " -n       with -z: fail where zeroes would have to be written out\n"
        " -p       taken; does nothing\n"
        " -P BYTE  write this byte instead of 0xcd\n"
        " -q       print no figures\n"
        " -s FILE  write the bytes of a file, over and over\n"
        " -u       with -z: the space need not stay reserved\n"
        " -z       write zeroes, by the tables alone where that is possible\n",
    .run = run_write,
};

/* ---- writev and aio_write ---- */

static bool run_writev(struct io *io, const struct io_command *command,
                       int argc, char **argv)
{
    struct io_flags flags;
    struct io_range range;

    return io_parse_flags(command, argc, argv, "CfP:q", &flags) &&
           io_parse_parts(command, argc, argv, &range) &&
           do_write(io, "writev", &flags, &range);
}

const struct io_command io_writev_command = {
    .name = "writev",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE | IO_NEEDS_WRITING,
    .arguments = "[-Cfq] [-P pattern] off len [len..]",
    .purpose = "write the sum of some lengths",
    .details = " -C       print the figures in one line, separated by commas\n"
               " -f       return only when it is durable\n"
               " -P BYTE  write this byte instead of 0xcd\n"
               " -q       print no figures\n",
    .run = run_writev,
};

/* The words of aio_write.  Returns false after a message. */
static bool parse_aio_write(const struct io_command *command, int argc,
                            char **argv, struct io_flags *ret_flags,
                            struct io_range *ret_range)
{
    if (!io_parse_flags(command, argc, argv, "CfiP:quz", ret_flags) ||
        !io_agree(!ret_flags->unmap || ret_flags->zero,
                  "-u requires -z to be specified") ||
        !io_agree(!ret_flags->zero || argc - optind <= 2,
                  "-z supports only a single length parameter"))
        return false;
    return ret_flags->invalid || io_parse_parts(command, argc, argv, ret_range);
}

static bool run_aio_write(struct io *io, const struct io_command *command,
                          int argc, char **argv)
{
    struct io_flags flags;
    struct io_range range;

    if (!parse_aio_write(command, argc, argv, &flags, &range))
        return false;
    if (flags.invalid)
        printf("injecting invalid write request\n");
    else
        do_write(io, "aio_write", &flags, &range);
    return true;
}

const struct io_command io_aio_write_command = {
    .name = "aio_write",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE | IO_NEEDS_WRITING,
    .arguments = "[-Cfiquz] [-P pattern] off len [len..]",
    .purpose = "like writev, but failing to write is no failure",
    .details = "The write is done at once.  Only wrong words count as a "
               "failure of the command.\n"
               " -i  write nothing, and say so\n"
               " -u  with -z: the space need not stay reserved\n"
               " -z  write zeroes\n"
               "The other options are those of writev.\n",
    .run = run_aio_write,
};

static bool run_aio_flush(struct io *io, const struct io_command *command,
                          int argc, char **argv)
{
    (void)io, (void)command, (void)argc, (void)argv;
    return true;
}

const struct io_command io_aio_flush_command = {
    .name = "aio_flush",
    .needs = IO_NEEDS_IMAGE,
    .purpose = "wait for aio_read and aio_write, which are done already",
    .run = run_aio_flush,
};

/* ---- discard and flush ---- */

static bool discard(const struct io *io, const struct io_range *range,
                    struct byre_error *err)
{
    if (!io_check_range(io, range, err))
        return false;
    return io->disk.mode.ignore_discards ||
           byre_discard(io->disk.img, range->offset, range->count, 0, err) >= 0;
}

static bool run_discard(struct io *io, const struct io_command *command,
                        int argc, char **argv)
{
    struct io_flags flags;
    struct io_range range;
    struct byre_error err;
    uint64_t begin;

    if (!io_parse_flags(command, argc, argv, "Cq", &flags) ||
        !io_parse_range(command, argc, argv, &range) ||
        !io_is_within_limit(range.count, argv[optind + 1], ""))
        return false;
    begin = io_clock();
    if (!discard(io, &range, &err)) {
        io_print_failure(io, "discard", &err);
        return false;
    }
    io_print_done("discard", &range, io_clock() - begin, &flags);
    return true;
}

const struct io_command io_discard_command = {
    .name = "discard",
    .short_name = "d",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE | IO_NEEDS_WRITING,
    .arguments = "[-Cq] off len",
    .purpose = "give up the bytes of a range",
    .details =
        " -C  print the figures in one line, separated by commas\n"
        " -q  print no figures\n"
        "Does nothing if the image was opened to ignore discards (-d).\n",
    .run = run_discard,
};

static bool run_flush(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    struct byre_error err;

    (void)argc, (void)argv;
    /* Of an image that is only read, nothing can be lost. */
    if (io->disk.mode.read_only || byre_flush(io->disk.img, &err) >= 0)
        return true;
    io_print_failure(io, command->name, &err);
    return false;
}

const struct io_command io_flush_command = {
    .name = "flush",
    .short_name = "f",
    .needs = IO_NEEDS_IMAGE,
    .purpose = "wait until all that was written is durable",
    .run = run_flush,
};
