/* SPDX-License-Identifier: MIT */
/*
 * byre io: the options, and the loop over the commands.
 *
 * Called by the name qemu-io it is the whole program, and leaves out what the
 * library has to say besides the lines that QEMU prints.
 */
#include "io.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "image.h"
#include "io_options.h"

/* clang-format off */
static const struct option_spec io_options[] = {
    { 'c', "cmd", "COMMAND", "run this command; may be given several times" },
    { 'f', "format", "FMT",
      "format of the image: raw, qcow or qcow2; else it is probed" },
    { 'r', "read-only", NULL, "open the image for reading only" },
    { 's', "snapshot", NULL,
      "write to a temporary overlay, which goes at the end" },
    { 't', "cache", "CACHE", "none, writeback, writethrough (the default), "
      "directsync or unsafe" },
    { 'n', "nocache", NULL, "past the page cache: short for -t none" },
    { 'd', "discard", "MODE",
      "ignore or off: discards do nothing; unmap or on (the default)" },
    IMAGE_OPTION_SPECS,
    { 'V', "version", NULL, "show the version and the optional parts" },
    { 'm', "misalign", NULL, "taken as in qemu-io; has no effect" },
    { 'k', "native-aio", NULL, "taken as in qemu-io; has no effect" },
    { 'i', "aio", "MODE", "threads, native or io_uring; has no effect" },
    { 'C', "copy-on-read", NULL, "refused: what is read is never copied" },
    { 'T', "trace", "ARG",
      "taken for the sake of old scripts; does nothing" },
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

const struct io_command *const io_commands[] = {
    &io_abort_command,
    &io_aio_flush_command,
    &io_aio_read_command,
    &io_aio_write_command,
    &io_alloc_command,
    &io_close_command,
    &io_discard_command,
    &io_flush_command,
    &io_help_command,
    &io_info_command,
    &io_length_command,
    &io_map_command,
    &io_open_command,
    &io_quit_command,
    &io_read_command,
    &io_readv_command,
    &io_reopen_command,
    &io_sigraise_command,
    &io_sleep_command,
    &io_truncate_command,
    &io_write_command,
    &io_writev_command,
    NULL,
};

struct command_line {
    struct image_options image;
    struct io_source source;
    const char **commands; /* of -c, in their order */
    size_t command_count;
};

/* ---- One command ---- */

const struct io_command *io_find_command(const char *word)
{
    for (size_t i = 0; io_commands[i] != NULL; i++) {
        const struct io_command *command = io_commands[i];

        if (strcmp(command->name, word) == 0 ||
            (command->short_name != NULL &&
             strcmp(command->short_name, word) == 0))
            return command;
    }
    return NULL;
}

static void report_bad_count(const struct io_command *command, const char *word,
                             int count)
{
    const int least = command->least_arguments;
    const int most = command->most_arguments;

    fflush(stdout);
    fprintf(stderr, "bad argument count %d to %s, expected ", count, word);
    if (most == IO_ANY_NUMBER)
        fprintf(stderr, "at least %d arguments\n", least);
    else if (least == most)
        fprintf(stderr, "%d arguments\n", least);
    else
        fprintf(stderr, "between %d and %d arguments\n", least, most);
}

/* Whether the command can run now.  Returns false after a message. */
static bool may_run(const struct io *io, const struct io_command *command,
                    const char *word, int count)
{
    if ((command->needs & IO_NEEDS_IMAGE) != 0 && io->disk.img == NULL) {
        fflush(stdout);
        fprintf(stderr, "no file open, try 'help open'\n");
        return false;
    }
    if (count < command->least_arguments ||
        (command->most_arguments != IO_ANY_NUMBER &&
         count > command->most_arguments)) {
        report_bad_count(command, word, count);
        return false;
    }
    if ((command->needs & IO_NEEDS_WRITING) != 0 && io->disk.mode.read_only) {
        report(io->tool, "Block node is read-only");
        return false;
    }
    return true;
}

static bool run_words(struct io *io, int count, char **words)
{
    const struct io_command *command = io_find_command(words[0]);

    if (command == NULL) {
        fflush(stdout);
        print_line(stderr, "command \"%s\" not found", words[0]);
        return false;
    }
    if (!may_run(io, command, words[0], count - 1))
        return false;
    optind = 0; /* begins anew, whatever the last command left behind */
    return command->run(io, command, count, words);
}

/* Runs the command in `line`, which is spoiled. */
static bool run_line(struct io *io, char *line)
{
    char *words[IO_MOST_WORDS + 1];
    const int count = io_split(line, words, IO_MOST_WORDS);
    bool good;

    if (count == 0)
        return true;
    if (count < 0) {
        report(io->tool, "a command has at most %d words", IO_MOST_WORDS);
        return false;
    }
    words[count] = NULL;
    good = run_words(io, count, words);
    fflush(stdout); /* who drives this program waits for the answer */
    return good;
}

/* ---- All commands ---- */

static bool run_given(struct io *io, const struct command_line *request)
{
    bool good = true;

    for (size_t i = 0; i < request->command_count && !io->quit; i++) {
        char *line = strdup(request->commands[i]);

        if (line == NULL) {
            report(io->tool, "out of memory");
            return false;
        }
        good = run_line(io, line) && good;
        free(line);
    }
    return good;
}

/* qemu-io shows it to programs too, and some of them wait for it. */
static void prompt(const struct io *io)
{
    if (!io->as_qemu_io && !isatty(STDIN_FILENO))
        return;
    printf("%s> ", io->as_qemu_io ? io->tool->name : "byre io");
    fflush(stdout);
}

static bool run_from_input(struct io *io)
{
    char *line = NULL;
    size_t capacity = 0;
    bool good = true;

    while (!io->quit) {
        prompt(io);
        if (getline(&line, &capacity, stdin) < 0)
            break;
        line[strcspn(line, "\n")] = '\0';
        good = run_line(io, line) && good;
    }
    if (ferror(stdin)) {
        report(io->tool, "Cannot read commands from standard input");
        good = false;
    }
    free(line);
    return good;
}

/* ---- Options ---- */

static bool add_command(const struct tool *tool, struct command_line *request,
                        const char *text)
{
    const size_t size = (request->command_count + 1) * sizeof(const char *);
    const char **commands = realloc(request->commands, size);

    if (commands == NULL) {
        report(tool, "out of memory");
        return false;
    }
    commands[request->command_count++] = text;
    request->commands = commands;
    return true;
}

static void print_help(const struct tool *tool, bool as_qemu_io)
{
    printf("Usage: %s%s %s\n%s\n\n", tool->name, as_qemu_io ? "" : " io",
           io_verb.synopsis, io_verb.purpose);
    options_print(io_options);
    printf("\n'help' as a command lists the commands.\n");
}

/* Takes one option.  Returns PARSE_ON, or the exit status. */
static int take_option(const struct tool *tool, int id, const char *argument,
                       struct command_line *request)
{
    switch (image_options_take(&request->image, tool, id, argument)) {
    case IMAGE_OPTION_TAKEN:
        return PARSE_ON;
    case IMAGE_OPTION_HELP:
        return EXIT_SUCCESS;
    case IMAGE_OPTION_BAD:
        return EXIT_FAILURE;
    case IMAGE_OPTION_NONE:
        break;
    }
    if (id == 'V') {
        print_version(tool);
        return EXIT_SUCCESS;
    }
    if (id == 'c')
        return add_command(tool, request, argument) ? PARSE_ON : EXIT_FAILURE;
    return io_mode_take(tool, id, argument, &request->source.mode)
               ? PARSE_ON
               : EXIT_FAILURE;
}

static int parse_options(const struct tool *tool, bool as_qemu_io, int argc,
                         char **argv, struct command_line *request)
{
    for (;;) {
        const char *argument;
        const int id = options_next(tool, as_qemu_io ? NULL : "io", io_options,
                                    argc, argv, &argument);
        int status;

        if (id == OPTION_END)
            return PARSE_ON;
        if (id == OPTION_BAD)
            return EXIT_FAILURE;
        if (id == 'h') {
            print_help(tool, as_qemu_io);
            return EXIT_SUCCESS;
        }
        status = take_option(tool, id, argument, request);
        if (status != PARSE_ON)
            return status;
    }
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, bool as_qemu_io, int argc,
                 char **argv, struct command_line *request)
{
    const int status = parse_options(tool, as_qemu_io, argc, argv, request);
    struct io_source *source = &request->source;

    if (status != PARSE_ON)
        return status;
    if (argc - optind > 1) {
        report_usage(tool, as_qemu_io ? NULL : "io",
                     "Expecting one image file name at most");
        return EXIT_FAILURE;
    }
    if (request->image.as_options && request->image.format != NULL) {
        report(tool, "--image-opts and -f are mutually exclusive");
        return EXIT_FAILURE;
    }
    source->format = request->image.format;
    source->mode.shared = request->image.shared;
    if (request->image.as_options)
        source->list = argv[optind];
    else
        source->name = argv[optind];
    return PARSE_ON;
}

/* ---- The verb ---- */

static bool run_commands(const struct tool *tool, bool as_qemu_io,
                         const struct command_line *request)
{
    struct io io = {
        .tool = tool,
        .image = &request->image,
        .as_qemu_io = as_qemu_io,
    };
    const struct io_source *source = &request->source;
    bool good;

    if ((source->name != NULL || source->list != NULL) && !io_open(&io, source))
        return false;
    if (request->command_count > 0)
        good = run_given(&io, request);
    else
        good = run_from_input(&io);
    return io_close(&io) && good;
}

static int io_run(const struct tool *tool, int argc, char **argv)
{
    const bool as_qemu_io = strcmp(tool->name, "qemu-io") == 0;
    struct command_line request = { .source.mode = IO_MODE_INIT };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, as_qemu_io, argc, argv, &request);
    if (status == PARSE_ON)
        status = run_commands(tool, as_qemu_io, &request) ? EXIT_SUCCESS
                                                          : EXIT_FAILURE;
    free(request.commands);
    image_options_done(&request.image);
    return status;
}

const struct verb io_verb = {
    .name = "io",
    .synopsis = "[OPTION]... [-c COMMAND]... [FILE]",
    .purpose = "Runs commands on the disk of an image: given by -c, or on "
               "standard input.",
    .options = io_options,
    .run = io_run,
};
