/* SPDX-License-Identifier: MIT */
/*
 * byre io: commands on one open image, one after the other.
 *
 * io.c takes the options and runs the commands.  The commands are in io_read.c,
 * io_write.c, io_meta.c (which describe the image) and io_control.c (all
 * others); each shows itself as a struct io_command.  io_open.c opens and
 * closes, io_parse.c reads words, io_report.c prints what a call did.
 */
#ifndef TOOL_IO_H
#define TOOL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <byre.h>

#include "io_cache.h"
#include "options.h"
#include "report.h"

/* ---- The open image ---- */

/* How an image is opened, as far as a command may choose. */
struct io_mode {
    struct io_cache cache;
    bool read_only;
    bool shared;
    bool snapshot;        /* writes go to a temporary overlay */
    bool ignore_discards; /* nothing is unmapped either */
};

/* The mode without any option: every write is durable when it returns. */
#define IO_MODE_INIT                                                           \
    {                                                                          \
        .cache.write_flags = BYRE_WRITE_FUA                                    \
    }

struct io_disk {
    struct byre *img;  /* NULL: no image is open */
    struct byre *base; /* what a temporary overlay stands on, or NULL */
    struct io_mode mode;
    char *name;     /* as it was given, for messages */
    char *location; /* for byre_open() */
    char *format;   /* NULL: probed */
};

/* All that commands share. */
struct io {
    const struct tool *tool;
    const struct image_options *image; /* whose secrets and policy hold */
    bool as_qemu_io; /* the library's own messages are left out */
    bool quit;
    struct io_disk disk;
};

/* An image to be opened. */
struct io_source {
    const char *name;   /* a path, or any other name of byre_open() */
    const char *list;   /* of options as --image-opts has them, or NULL */
    const char *format; /* NULL: probed */
    struct io_mode mode;
};

/*
 * Opens an image; none is open before.  With a list of options, the name is
 * that of its file, or NULL if the list holds that too.  Returns false after a
 * message.
 */
bool io_open(struct io *io, const struct io_source *source);

/* Closes the image, if there is one.  Returns false after a message. */
bool io_close(struct io *io);

/*
 * Closes the image and opens it again with `mode`, or as it was if that fails.
 * Returns false after a message.
 */
bool io_reopen(struct io *io, const struct io_mode *mode);

/* ---- Commands ---- */

#define IO_NEEDS_IMAGE   0x1u
#define IO_NEEDS_WRITING 0x2u

#define IO_ANY_NUMBER (-1)

struct io_command {
    const char *name;
    const char *short_name; /* NULL: none */
    int least_arguments;
    int most_arguments;    /* IO_ANY_NUMBER: no limit */
    uint32_t needs;        /* IO_NEEDS_* */
    const char *arguments; /* what it takes; NULL: nothing */
    const char *purpose;   /* a few words */
    const char *details;   /* lines for its help; NULL: none */
    /* argv[0] is the command.  Returns whether it succeeded. */
    bool (*run)(struct io *io, const struct io_command *command, int argc,
                char **argv);
};

extern const struct io_command io_abort_command;
extern const struct io_command io_aio_flush_command;
extern const struct io_command io_aio_read_command;
extern const struct io_command io_aio_write_command;
extern const struct io_command io_alloc_command;
extern const struct io_command io_close_command;
extern const struct io_command io_discard_command;
extern const struct io_command io_flush_command;
extern const struct io_command io_help_command;
extern const struct io_command io_info_command;
extern const struct io_command io_length_command;
extern const struct io_command io_map_command;
extern const struct io_command io_open_command;
extern const struct io_command io_quit_command;
extern const struct io_command io_read_command;
extern const struct io_command io_readv_command;
extern const struct io_command io_reopen_command;
extern const struct io_command io_sigraise_command;
extern const struct io_command io_sleep_command;
extern const struct io_command io_truncate_command;
extern const struct io_command io_write_command;
extern const struct io_command io_writev_command;

/* All of them by name, with NULL behind the last. */
extern const struct io_command *const io_commands[];

/* The command that `word` names, or NULL. */
const struct io_command *io_find_command(const char *word);

/* ---- Words ---- */

#define IO_MOST_WORDS 1100

/*
 * Splits `line` at blanks, in place, into at most `capacity` words.  Returns
 * their number, or -1 if there are more.
 */
int io_split(char *line, char **ret_words, int capacity);

/* Reads an offset or length.  Returns false after a message. */
bool io_parse_number(const char *text, uint64_t *ret_number);

/* Reads the value of a byte.  Returns false after a message. */
bool io_parse_pattern(const char *text, uint8_t *ret_pattern);

/* Whether `number`, called `what`, is of whole sectors; else says so. */
bool io_is_sector_aligned(uint64_t number, const char *what);

/* ---- What is said ---- */

/* "NAME ARGUMENTS -- PURPOSE", the answer to wrong options. */
void io_print_usage(const struct io_command *command);

/*
 * Says that `what` failed: by the errno that fits `err` and, under the name
 * byre, by the library's own words.
 */
void io_print_failure(const struct io *io, const char *what,
                      const struct byre_error *err);

/* A clock for io_print_report(), in nanoseconds. */
uint64_t io_clock(void);

/* What was done: `total` of `count` bytes at `offset`. */
struct io_report {
    const char *what; /* "read", "wrote", "discard" */
    uint64_t offset;
    uint64_t count;
    uint64_t total;
    uint64_t nsec;
};

/* Two lines; or one of numbers, for programs, with `machine`. */
void io_print_report(const struct io_report *report, bool machine);

/* `count` bytes that begin at `offset`, sixteen a line. */
void io_print_dump(const uint8_t *bytes, size_t count, uint64_t offset);

#define IO_SIZE_TEXT_SIZE 64

/* A number of bytes, as "1 MiB" or "1.004 MiB". */
const char *io_size_text(double size, char buf[IO_SIZE_TEXT_SIZE]);

#endif /* TOOL_IO_H */
