/* SPDX-License-Identifier: MIT */
/*
 * byre: disk images of the QCOW family from the command line.
 *
 * Called by the name qemu-img it is the same program with qemu-img's defaults:
 * formats of backing files are probed, and convert does not wait for its bytes
 * to be durable.  Called by the name qemu-io it is the verb io.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <byre.h>

#include "command.h"

/* The QEMU release whose options and outputs these are. */
#define QEMU_LEVEL "11.1.3"

/* clang-format off */
static const struct verb *const verbs[] = {
    &amend_verb,
    &bench_verb,
    &bitmap_verb,
    &check_verb,
    &checksum_verb,
    &commit_verb,
    &compact_verb,
    &compare_verb,
    &convert_verb,
    &create_verb,
    &dd_verb,
    &info_verb,
    &io_verb,
    &map_verb,
    &measure_verb,
    &rebase_verb,
    &resize_verb,
    &snapshot_verb,
};
/* clang-format on */

static const size_t verb_count = sizeof(verbs) / sizeof(verbs[0]);

void print_version(const struct tool *tool)
{
    if (tool->as_qemu_img)
        printf("%s version %s (byre %s)\n", tool->name, QEMU_LEVEL,
               byre_version());
    else
        printf("%s version %s\n", tool->name, byre_version());
    printf("features: %s\n", byre_features());
    printf("MIT licence; there is no warranty\n");
}

static void print_help(const struct tool *tool)
{
    printf("Usage: %s VERB [OPTION]... FILE...\n"
           "Disk images of the QCOW family, and raw ones.\n\n",
           tool->name);
    for (size_t i = 0; i < verb_count; i++)
        printf("  %s %s\n", verbs[i]->name, verbs[i]->synopsis);
    printf("\n"
           "  -h, --help       show this help\n"
           "  -V, --version    show the version and the optional parts\n"
           "  -T, --trace ARG  taken for the sake of old scripts; does "
           "nothing\n\n"
           "'%s VERB --help' explains the options of a verb.\n",
           tool->name);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < verb_count; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* How many words the option before the verb takes that does nothing, or 0. */
static int trace_words(const char *word)
{
    if (is_one_of(word, "-T", "--trace"))
        return 2;
    return strncmp(word, "--trace=", 8) == 0 ? 1 : 0;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    const struct verb *verb;
    int i = 1;

    if (strcmp(tool->name, "qemu-io") == 0)
        return io_verb.run(tool, argc, argv);
    while (i < argc && trace_words(argv[i]) > 0)
        i += trace_words(argv[i]);
    if (i >= argc) {
        report_usage(tool, NULL, "Not enough arguments");
        return EXIT_FAILURE;
    }
    if (is_one_of(argv[i], "-h", "--help") || strcmp(argv[i], "help") == 0) {
        print_help(tool);
        return EXIT_SUCCESS;
    }
    if (is_one_of(argv[i], "-V", "--version")) {
        print_version(tool);
        return EXIT_SUCCESS;
    }
    if (argv[i][0] == '-') {
        report_usage(tool, NULL, "unrecognized option '%s'", argv[i]);
        return EXIT_FAILURE;
    }
    verb = find_verb(argv[i]);
    if (verb == NULL) {
        report_usage(tool, NULL, "Command not found: %s", argv[i]);
        return EXIT_FAILURE;
    }
    return verb->run(tool, argc - i, argv + i);
}

/*
 * Standard descriptors that are closed would be given to the next file that is
 * opened, and messages written into it: into an image.  What stands in for them
 * fails like a closed one.
 */
static void keep_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    struct tool tool = { .name = "byre" };
    const char *path = argc > 0 ? argv[0] : tool.name;
    const char *slash = strrchr(path, '/');
    int status;

    if (strcmp(slash != NULL ? slash + 1 : path, "qemu-img") == 0)
        tool = (struct tool){ .name = "qemu-img", .as_qemu_img = true };
    if (strcmp(slash != NULL ? slash + 1 : path, "qemu-io") == 0)
        tool = (struct tool){ .name = "qemu-io", .as_qemu_img = true };
    keep_standard_descriptors();
    /* A reader that goes away is an error to tell of, not a silent end. */
    signal(SIGPIPE, SIG_IGN);
    /* So is a limit on the size of files: what was made is then removed. */
    signal(SIGXFSZ, SIG_IGN);
    status = run(&tool, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        report(&tool, "Cannot write to standard output");
        if (status == EXIT_SUCCESS)
            status = EXIT_FAILURE;
    }
    return status;
}
