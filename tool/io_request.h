/* SPDX-License-Identifier: MIT */
/* byre io: what the commands that move bytes have in common. */
#ifndef TOOL_IO_REQUEST_H
#define TOOL_IO_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io.h"

/* What is written where nothing else is asked for. */
#define IO_DEFAULT_PATTERN 0xcd

/* The letters of all commands; each takes only its own. */
struct io_flags {
    bool vm_state;   /* -b */
    bool compressed; /* -c */
    bool machine;    /* -C */
    bool fua;        /* -f */
    bool invalid;    /* -i */
    bool fast;       /* -n */
    bool quiet;      /* -q */
    bool unmap;      /* -u */
    bool verbose;    /* -v */
    bool zero;       /* -z */
    bool has_pattern;
    uint8_t pattern;            /* -P */
    const char *start;          /* -s, of reads: where the pattern begins */
    const char *source;         /* -s, of writes: a file of bytes */
    const char *pattern_length; /* -l */
};

/*
 * Takes the options of a command: some of the letters of struct io_flags.  The
 * operands are then at argv[optind].  Returns false after a message.
 */
bool io_parse_flags(const struct io_command *command, int argc, char **argv,
                    const char *letters, struct io_flags *ret_flags);

/* Returns `good`, after the message if it is false. */
bool io_agree(bool good, const char *message);

struct io_range {
    uint64_t offset;
    uint64_t count;
};

/* The operands "off len".  Returns false after a message. */
bool io_parse_range(const struct io_command *command, int argc, char **argv,
                    struct io_range *ret_range);

/* "off len [len..]", of which the parts lie one behind the other. */
bool io_parse_parts(const struct io_command *command, int argc, char **argv,
                    struct io_range *ret_range);

/*
 * Whether one request may have `count` bytes, which were given as `text`.
 * Returns false after a message, with `hint` behind the limit.
 */
bool io_is_within_limit(uint64_t count, const char *text, const char *hint);

/* Memory for a request, filled; to be freed.  NULL after a message. */
uint8_t *io_new_buffer(const struct io *io, uint64_t count, uint8_t pattern);

/*
 * Fills `buf` with the bytes of a file, over and over.  Returns false after a
 * message.
 */
bool io_fill_from_source(const char *name, uint8_t *buf, size_t count);

/*
 * A range that passes the end of the disk is an I/O error to programs that know
 * QEMU, while the library takes it for a mistake of the caller.  Returns false
 * with `err` filled.
 */
bool io_check_range(const struct io *io, const struct io_range *range,
                    struct byre_error *err);

/*
 * Tells that -b does not work: there is no call for the state of a machine
 * beside the disk.  Returns false.
 */
bool io_refuse_vm_state(const struct io *io, const char *what);

/* Tells of a request that took `nsec` nanoseconds, unless -q forbids it. */
void io_print_done(const char *what, const struct io_range *range,
                   uint64_t nsec, const struct io_flags *flags);

#endif /* TOOL_IO_REQUEST_H */
