/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_request.h"

/* The most bytes of one request: what QEMU takes. */
#define MOST_BYTES UINT64_C(2147483136)

/* ---- Options ---- */

static bool take_flag(int letter, bool is_read, struct io_flags *flags)
{
    switch (letter) {
    case 'b':
        flags->vm_state = true;
        break;
    case 'c':
        flags->compressed = true;
        break;
    case 'C':
        flags->machine = true;
        break;
    case 'f':
        flags->fua = true;
        break;
    case 'i':
        flags->invalid = true;
        break;
    case 'n':
        flags->fast = true;
        break;
    case 'p':
        break; /* it once chose a system call */
    case 'q':
        flags->quiet = true;
        break;
    case 'u':
        flags->unmap = true;
        break;
    case 'v':
        flags->verbose = true;
        break;
    case 'z':
        flags->zero = true;
        break;
    case 'P':
        flags->has_pattern = true;
        return io_parse_pattern(optarg, &flags->pattern);
    case 's':
        *(is_read ? &flags->start : &flags->source) = optarg;
        break;
    case 'l':
        flags->pattern_length = optarg;
        break;
    }
    return true;
}

bool io_parse_flags(const struct io_command *command, int argc, char **argv,
                    const char *letters, struct io_flags *ret_flags)
{
    const bool is_read = strchr(letters, 'v') != NULL;

    *ret_flags = (struct io_flags){ .pattern = IO_DEFAULT_PATTERN };
    for (;;) {
        const int letter = getopt(argc, argv, letters);

        if (letter == -1)
            return true;
        if (letter == '?') {
            io_print_usage(command);
            return false;
        }
        if (!take_flag(letter, is_read, ret_flags))
            return false;
    }
}

bool io_agree(bool good, const char *message)
{
    if (!good)
        print_line(stdout, "%s", message);
    return good;
}

/* ---- Ranges and buffers ---- */

bool io_parse_range(const struct io_command *command, int argc, char **argv,
                    struct io_range *ret_range)
{
    if (argc - optind != 2) {
        io_print_usage(command);
        return false;
    }
    return io_parse_number(argv[optind], &ret_range->offset) &&
           io_parse_number(argv[optind + 1], &ret_range->count);
}

static bool parse_part(const char *text, uint64_t *total)
{
    uint64_t length;

    if (!io_parse_number(text, &length))
        return false;
    if (length > MOST_BYTES) {
        print_line(stdout, "Argument '%s' exceeds maximum size %" PRIu64, text,
                   MOST_BYTES);
        return false;
    }
    *total += length;
    if (*total > MOST_BYTES) {
        printf("The total number of bytes exceed the maximum size %" PRIu64
               "\n",
               MOST_BYTES);
        return false;
    }
    return true;
}

bool io_parse_parts(const struct io_command *command, int argc, char **argv,
                    struct io_range *ret_range)
{
    ret_range->count = 0;
    if (argc - optind < 2) {
        io_print_usage(command);
        return false;
    }
    if (!io_parse_number(argv[optind], &ret_range->offset))
        return false;
    for (int i = optind + 1; i < argc; i++)
        if (!parse_part(argv[i], &ret_range->count))
            return false;
    return true;
}

bool io_is_within_limit(uint64_t count, const char *text, const char *hint)
{
    if (count <= MOST_BYTES)
        return true;
    print_line(stdout, "length cannot exceed %" PRIu64 "%s, given %s",
               MOST_BYTES, hint, text);
    return false;
}

uint8_t *io_new_buffer(const struct io *io, uint64_t count, uint8_t pattern)
{
    uint8_t *buf = malloc(count > 0 ? (size_t)count : 1);

    if (buf == NULL)
        report(io->tool, "out of memory: no buffer of %" PRIu64 " bytes",
               count);
    else
        memset(buf, pattern, (size_t)count);
    return buf;
}

/*
 * Reads as much of the file as there is room for: at least a byte.  Returns
 * false after a message.
 */
static bool load_source(const char *name, uint8_t *buf, size_t capacity,
                        size_t *ret_length)
{
    const char *wrong = NULL;
    size_t length = 0;
    FILE *file = fopen(name, "rb");

    if (file != NULL)
        length = fread(buf, 1, capacity, file);
    if (file == NULL || ferror(file))
        wrong = strerror(errno);
    else if (length == 0)
        wrong = "file is empty";
    if (file != NULL)
        fclose(file);
    *ret_length = length;
    if (wrong == NULL)
        return true;
    fflush(stdout);
    print_line(stderr, "%s: %s", name, wrong);
    return false;
}

bool io_fill_from_source(const char *name, uint8_t *buf, size_t count)
{
    size_t length = 0;

    if (count == 0)
        return true;
    if (!load_source(name, buf, count, &length))
        return false;
    for (size_t done = length; done < count; done++)
        buf[done] = buf[done - length];
    return true;
}

/* ---- Calls ---- */

bool io_check_range(const struct io *io, const struct io_range *range,
                    struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    uint64_t size;

    if (byre_get_info(io->disk.img, &info, err) < 0)
        return false;
    size = info.virtual_size_bytes;
    if (range->offset <= size && range->count <= size - range->offset)
        return true;
    *err = (struct byre_error){ .code = BYRE_E_INVALID, .sys_errno = EIO };
    snprintf(err->message, sizeof(err->message),
             "%" PRIu64 " bytes at offset %" PRIu64
             " pass the end of the disk at %" PRIu64,
             range->count, range->offset, size);
    return false;
}

bool io_refuse_vm_state(const struct io *io, const char *what)
{
    struct byre_error err = { .code = BYRE_E_UNSUPPORTED };

    snprintf(err.message, sizeof(err.message),
             "-b: the state of a machine cannot be read or written; only the "
             "disk can");
    io_print_failure(io, what, &err);
    return false;
}

void io_print_done(const char *what, const struct io_range *range,
                   uint64_t nsec, const struct io_flags *flags)
{
    const struct io_report report = {
        .what = what,
        .offset = range->offset,
        .count = range->count,
        .total = range->count,
        .nsec = nsec,
    };

    if (!flags->quiet)
        io_print_report(&report, flags->machine);
}
