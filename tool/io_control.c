/* SPDX-License-Identifier: MIT */
/* byre io: the commands that open and close, and those about the program. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io.h"
#include "io_options.h"

/* ---- open, close, reopen ---- */

static bool take_open_option(const struct io *io,
                             const struct io_command *command, int letter,
                             struct io_source *source)
{
    switch (letter) {
    case 'o':
        source->list = optarg;
        return true;
    case '?':
        io_print_usage(command);
        return false;
    default:
        return io_mode_take(io->tool, letter, optarg, &source->mode);
    }
}

static bool run_open(struct io *io, const struct io_command *command, int argc,
                     char **argv)
{
    static const char letters[] = "rsCnki:Ut:d:o:";
    struct io_source source = { .mode = IO_MODE_INIT };

    for (int letter = getopt(argc, argv, letters); letter != -1;
         letter = getopt(argc, argv, letters))
        if (!take_open_option(io, command, letter, &source))
            return false;
    if (argc - optind > 1 || (argc == optind && source.list == NULL)) {
        io_print_usage(command);
        return false;
    }
    if (io->disk.img != NULL) {
        report(io->tool, "file open already, try 'help close'");
        return false;
    }
    source.name = argv[optind];
    return io_open(io, &source);
}

const struct io_command io_open_command = {
    .name = "open",
    .short_name = "o",
    .least_arguments = 1,
    .most_arguments = IO_ANY_NUMBER,
    .arguments = "[-rsnkU] [-i aio] [-t cache] [-d discard] [-o options] "
                 "[path]",
    .purpose = "open an image",
    .details =
        " -r        for reading only\n"
        " -s        write to a temporary overlay, which goes at the end\n"
        " -n        past the page cache: short for -t none\n"
        " -U        even while another program writes to the image; with -r\n"
        " -t CACHE  none, writeback, writethrough, directsync or unsafe\n"
        " -d MODE   ignore or off: discards do nothing; unmap or on\n"
        " -o LIST   driver=qcow2,file.filename=NAME and the like\n"
        " -k, -i    taken; have no effect\n",
    .run = run_open,
};

static bool run_close(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    (void)command, (void)argc, (void)argv;
    return io_close(io);
}

const struct io_command io_close_command = {
    .name = "close",
    .short_name = "c",
    .needs = IO_NEEDS_IMAGE,
    .purpose = "close the image",
    .run = run_close,
};

/* What reopen is asked for: the mode, and whether -r or -w came before. */
static bool take_reopen_option(const struct io *io,
                               const struct io_command *command, int letter,
                               struct io_mode *mode, bool *access_given)
{
    switch (letter) {
    case 'r':
    case 'w':
        if (*access_given) {
            report(io->tool, "Only one -r/-w option may be given");
            return false;
        }
        *access_given = true;
        mode->read_only = letter == 'r';
        return true;
    case 'c':
        return io_mode_take(io->tool, 't', optarg, mode);
    case 'o':
        report(io->tool,
               "Cannot change the option '%s': close the image and "
               "open it with other options",
               optarg);
        return false;
    default:
        io_print_usage(command);
        return false;
    }
}

static bool run_reopen(struct io *io, const struct io_command *command,
                       int argc, char **argv)
{
    struct io_mode mode = io->disk.mode;
    bool access_given = false;

    for (int letter = getopt(argc, argv, "rwc:o:"); letter != -1;
         letter = getopt(argc, argv, "rwc:o:"))
        if (!take_reopen_option(io, command, letter, &mode, &access_given))
            return false;
    if (optind != argc) {
        io_print_usage(command);
        return false;
    }
    return io_reopen(io, &mode);
}

const struct io_command io_reopen_command = {
    .name = "reopen",
    .most_arguments = IO_ANY_NUMBER,
    .needs = IO_NEEDS_IMAGE,
    .arguments = "[(-r|-w)] [-c cache] [-o options]",
    .purpose = "close the image and open it in another mode",
    .details = " -r        for reading only\n"
               " -w        for writing too\n"
               " -c CACHE  with another cache mode\n"
               " -o        refused\n",
    .run = run_reopen,
};

/* ---- sleep, abort, sigraise, quit ---- */

static bool run_sleep(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    struct timespec rest;
    char *end;
    long msec;

    (void)io, (void)command, (void)argc;
    errno = 0;
    msec = strtol(argv[1], &end, 0);
    if (end == argv[1] || *end != '\0' || errno != 0 || msec < 0) {
        print_line(stdout, "%s is not a valid number", argv[1]);
        return false;
    }
    rest.tv_sec = msec / 1000;
    rest.tv_nsec = msec % 1000 * 1000000;
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
        continue;
    return true;
}

const struct io_command io_sleep_command = {
    .name = "sleep",
    .least_arguments = 1,
    .most_arguments = 1,
    .arguments = "milliseconds",
    .purpose = "do nothing for a while",
    .run = run_sleep,
};

/* A crash is what this is for: nothing is flushed or closed. */
static bool run_abort(struct io *io, const struct io_command *command, int argc,
                      char **argv)
{
    (void)io, (void)command, (void)argc, (void)argv;
    fflush(stdout);
    abort();
}

const struct io_command io_abort_command = {
    .name = "abort",
    .most_arguments = IO_ANY_NUMBER,
    .purpose = "end the program as a crash would, without closing the image",
    .run = run_abort,
};

static bool run_sigraise(struct io *io, const struct io_command *command,
                         int argc, char **argv)
{
    uint64_t number;

    (void)command, (void)argc;
    if (!io_parse_number(argv[1], &number))
        return false;
    fflush(stdout);
    if (number > 0 && number < (uint64_t)NSIG && raise((int)number) == 0)
        return true;
    report(io->tool, "there is no signal %s", argv[1]);
    return false;
}

const struct io_command io_sigraise_command = {
    .name = "sigraise",
    .least_arguments = 1,
    .most_arguments = 1,
    .arguments = "signal",
    .purpose = "send a signal to the program itself, by its number",
    .run = run_sigraise,
};

static bool run_quit(struct io *io, const struct io_command *command, int argc,
                     char **argv)
{
    (void)command, (void)argc, (void)argv;
    io->quit = true;
    return true;
}

const struct io_command io_quit_command = {
    .name = "quit",
    .short_name = "q",
    .most_arguments = IO_ANY_NUMBER,
    .purpose = "close the image and end the program",
    .run = run_quit,
};

/* ---- help ---- */

static void print_all_commands(void)
{
    for (size_t i = 0; io_commands[i] != NULL; i++)
        io_print_usage(io_commands[i]);
    printf("\n'help COMMAND' tells more of one.\n");
}

static bool run_help(struct io *io, const struct io_command *command, int argc,
                     char **argv)
{
    const struct io_command *subject;

    (void)io, (void)command;
    if (argc == 1) {
        print_all_commands();
        return true;
    }
    subject = io_find_command(argv[1]);
    if (subject == NULL) {
        print_line(stdout, "command %s not found", argv[1]);
        return false;
    }
    io_print_usage(subject);
    if (subject->details != NULL)
        fputs(subject->details, stdout);
    return true;
}

const struct io_command io_help_command = {
    .name = "help",
    .short_name = "?",
    .most_arguments = 1,
    .arguments = "[command]",
    .purpose = "list the commands, or tell of one",
    .run = run_help,
};
