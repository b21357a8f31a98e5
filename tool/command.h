/* SPDX-License-Identifier: MIT */
/*
 * The verbs of the tool.  Each lives in a file of its own and shows itself to
 * main.c as a struct verb.
 */
#ifndef TOOL_COMMAND_H
#define TOOL_COMMAND_H

#include "options.h"
#include "report.h"

struct verb {
    const char *name;
    const char *synopsis; /* one line: the options and operands */
    const char *purpose;  /* one sentence */
    const struct option_spec *options;
    /* argv[0] is the verb.  Returns the exit status of the program. */
    int (*run)(const struct tool *tool, int argc, char **argv);
};

extern const struct verb amend_verb;
extern const struct verb bench_verb;
extern const struct verb bitmap_verb;
extern const struct verb check_verb;
extern const struct verb checksum_verb;
extern const struct verb commit_verb;
extern const struct verb compare_verb;
extern const struct verb convert_verb;
extern const struct verb create_verb;
extern const struct verb dd_verb;
extern const struct verb compact_verb;
extern const struct verb info_verb;
extern const struct verb io_verb;
extern const struct verb map_verb;
extern const struct verb measure_verb;
extern const struct verb rebase_verb;
extern const struct verb resize_verb;
extern const struct verb snapshot_verb;

/* What --version prints. */
void print_version(const struct tool *tool);

/* What a parser of options returns besides exit statuses. */
#define PARSE_ON (-1)

/*
 * Takes one option of a verb's own into its `request`.  Returns PARSE_ON, or
 * the exit status after a message.
 */
typedef int verb_take_option(const struct tool *tool, int id,
                             const char *argument, void *request);

/*
 * Takes all options of a command line: those that verbs share into `image`, the
 * rest by `take`; help is printed.  Returns PARSE_ON, with the operands at
 * argv[optind], or the exit status.
 */
int verb_parse(const struct tool *tool, const struct verb *verb, int argc,
               char **argv, struct image_options *image, verb_take_option *take,
               void *request);

#endif /* TOOL_COMMAND_H */
