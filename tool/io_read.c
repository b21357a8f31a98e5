/* SPDX-License-Identifier: MIT */
/* byre io: the commands that read. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "io_request.h"

/* The part of what was read that must be of one pattern. */
struct expectation {
    uint64_t start; /* from the first byte read */
    uint64_t length;
};

static bool parse_expectation(const struct io_command *command,
                              const struct io_flags *flags,
                              const struct io_range *range,
                              struct expectation *ret_expectation)
{
    uint64_t start = 0;
    uint64_t length;

    if (flags->start != NULL && !io_parse_number(flags->start, &start))
        return false;
    length = range->count > start ? range->count - start : 0;
    if (flags->pattern_length != NULL &&
        !io_parse_number(flags->pattern_length, &length))
        return false;
    if (!flags->has_pattern &&
        (flags->start != NULL || flags->pattern_length != NULL)) {
        io_print_usage(command);
        return false;
    }
    *ret_expectation = (struct expectation){ start, length };
    return io_agree(start <= range->count && length <= range->count - start,
                    "pattern verification range exceeds end of read data");
}

static bool verify(const uint8_t *buf, const struct io_range *range,
                   const struct expectation *expectation, uint8_t pattern)
{
    const uint8_t *bytes = buf + expectation->start;

    for (uint64_t i = 0; i < expectation->length; i++) {
        if (bytes[i] == pattern)
            continue;
        printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64
               " bytes\n",
               range->offset + expectation->start, expectation->length);
        return false;
    }
    return true;
}

/* Reads into `buf`, looks at it, tells of it. */
static bool read_into(const struct io *io, const char *what,
                      const struct io_flags *flags,
                      const struct io_range *range,
                      const struct expectation *expectation, uint8_t *buf)
{
    const uint64_t begin = io_clock();
    struct byre_error err;
    uint64_t nsec;
    bool good;

    if (!io_check_range(io, range, &err) ||
        byre_read(io->disk.img, range->offset, buf, (size_t)range->count,
                  &err) < 0) {
        io_print_failure(io, what, &err);
        return false;
    }
    nsec = io_clock() - begin;
    good =
        !flags->has_pattern || verify(buf, range, expectation, flags->pattern);
    if (flags->verbose && !flags->quiet)
        io_print_dump(buf, (size_t)range->count, range->offset);
    io_print_done("read", range, nsec, flags);
    return good;
}

static bool do_read(const struct io *io, const char *what,
                    const struct io_flags *flags, const struct io_range *range,
                    const struct expectation *expectation)
{
    uint8_t *buf = io_new_buffer(io, range->count, IO_DEFAULT_PATTERN);
    bool good;

    if (buf == NULL)
        return false;
    good = read_into(io, what, flags, range, expectation, buf);
    free(buf);
    return good;
}

static bool run_read(struct io *io, const struct io_command *command, int argc,
                     char **argv)
{
    struct expectation expectation;
    struct io_range range;
    struct io_flags flags;

    if (!io_parse_flags(command, argc, argv, "bCl:pP:qs:v", &flags) ||
        !io_parse_range(command, argc, argv, &range) ||
        !io_is_within_limit(range.count, argv[optind + 1], "") ||
        !parse_expectation(command, &flags, &range, &expectation))
        return false;
    if (flags.vm_state)
        return io_is_sector_aligned(range.offset, "offset") &&
               io_is_sector_aligned(range.count, "count") &&
               io_refuse_vm_state(io, "read");
    return do_read(io, "read", &flags, &range, &expectation);
}

const struct io_command io_read_command = {
    .name = "read",
    .short_name = "r",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE,
    .arguments = "[-bCpqv] [-P pattern [-s off] [-l len]] off len",
    .purpose = "read bytes of the disk",
    .details =
        " -b       the state of the machine instead of the disk (refused)\n"
        " -C       print the figures in one line, separated by commas\n"
        " -P BYTE  fail unless every byte read is this one\n"
        " -s, -l   with -P: look only at so many bytes (-l) from there (-s)\n"
        " -p       taken; does nothing\n"
        " -q       print no figures\n"
        " -v       show the bytes\n",
    .run = run_read,
};

static bool read_parts(struct io *io, const struct io_command *command,
                       int argc, char **argv, const char *letters,
                       bool *ret_submitted)
{
    struct expectation expectation;
    struct io_range range;
    struct io_flags flags;

    *ret_submitted = false;
    if (!io_parse_flags(command, argc, argv, letters, &flags))
        return false;
    if (flags.invalid) {
        printf("injecting invalid read request\n");
        *ret_submitted = true;
        return true;
    }
    if (!io_parse_parts(command, argc, argv, &range))
        return false;
    expectation = (struct expectation){ 0, range.count };
    *ret_submitted = true;
    return do_read(io, "readv", &flags, &range, &expectation);
}

static bool run_readv(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    bool submitted;

    return read_parts(io, command, argc, argv, "CP:qv", &submitted);
}

const struct io_command io_readv_command = {
    .name = "readv",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE,
    .arguments = "[-Cqv] [-P pattern] off len [len..]",
    .purpose = "read the sum of some lengths",
    .details = " -C       print the figures in one line, separated by commas\n"
               " -P BYTE  fail unless every byte read is this one\n"
               " -q       print no figures\n"
               " -v       show the bytes\n",
    .run = run_readv,
};

static bool run_aio_read(struct io *io, const struct io_command *command,
                         int argc, char **argv)
{
    bool submitted;

    read_parts(io, command, argc, argv, "CiP:qv", &submitted);
    return submitted;
}

const struct io_command io_aio_read_command = {
    .name = "aio_read",
    .least_arguments = 2,
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE,
    .arguments = "[-Ciqv] [-P pattern] off len [len..]",
    .purpose = "like readv, but failing to read is no failure",
    .details = "The read is done at once.  Only wrong words count as a failure "
               "of the command.\n"
               " -i  read nothing, and say so\n"
               "The other options are those of readv.\n",
    .run = run_aio_read,
};
