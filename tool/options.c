/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <byre.h>

#define MAX_OPTIONS 48

/* The two forms of a table that getopt_long() takes. */
struct getopt_tables {
    char letters[2 + 2 * MAX_OPTIONS];
    struct option words[MAX_OPTIONS + 1];
};

static size_t count_specs(const struct option_spec *specs)
{
    size_t count = 0;

    while (count < MAX_OPTIONS && specs[count].id != 0)
        count++;
    return count;
}

static int argument_kind(const struct option_spec *spec)
{
    if (spec->argument == NULL)
        return no_argument;
    return spec->argument[0] == '[' ? optional_argument : required_argument;
}

static void fill_tables(const struct option_spec *specs,
                        struct getopt_tables *ret_tables)
{
    const size_t count = count_specs(specs);
    size_t letter = 0;
    size_t word = 0;

    memset(ret_tables, 0, sizeof(*ret_tables));
    /* A leading colon keeps getopt silent: messages are worded here. */
    ret_tables->letters[letter++] = ':';
    for (size_t i = 0; i < count; i++) {
        const struct option_spec *spec = &specs[i];

        if (spec->id < OPTION_IMAGE_OPTS)
            ret_tables->letters[letter++] = (char)spec->id;
        if (spec->id < OPTION_IMAGE_OPTS &&
            argument_kind(spec) == required_argument)
            ret_tables->letters[letter++] = ':';
        if (spec->name != NULL)
            ret_tables->words[word++] = (struct option){
                .name = spec->name,
                .has_arg = argument_kind(spec),
                .val = spec->id,
            };
    }
}

/* getopt has moved on to the next word unless it stopped inside a cluster. */
static void report_bad_option(const struct tool *tool, const char *verb,
                              const char *what, char **argv)
{
    const char *word = argv[optind - 1];
    const char letter[] = { '-', (char)optopt, '\0' };

    if (optopt > 0 && optopt < OPTION_IMAGE_OPTS)
        word = letter;
    report_usage(tool, verb, "%s '%s'", what, word);
}

/* Whether an argument is one of the words of "[=A|B]". */
static bool is_choice(const char *choices, const char *argument)
{
    const size_t length = strlen(argument);
    const char *at = choices + strlen("[");

    while (*at != ']') {
        at++; /* '=' or '|' */
        if (strcspn(at, "|]") == length && strncmp(at, argument, length) == 0)
            return true;
        at += strcspn(at, "|]");
    }
    return false;
}

/* Returns false after a message about an argument that cannot be. */
static bool check_choice(const struct tool *tool, const char *verb,
                         const struct option_spec *specs, int id)
{
    const size_t count = count_specs(specs);

    for (size_t i = 0; i < count && optarg != NULL; i++) {
        if (specs[i].id != id || argument_kind(&specs[i]) != optional_argument)
            continue;
        if (is_choice(specs[i].argument, optarg))
            return true;
        report_usage(tool, verb, "--%s does not take '%s', but %s",
                     specs[i].name, optarg, specs[i].argument);
        return false;
    }
    return true;
}

int options_next(const struct tool *tool, const char *verb,
                 const struct option_spec *specs, int argc, char **argv,
                 const char **ret_argument)
{
    struct getopt_tables tables;
    int id;

    fill_tables(specs, &tables);
    id = getopt_long(argc, argv, tables.letters, tables.words, NULL);
    *ret_argument = optarg;
    if (id == '?') {
        report_bad_option(tool, verb, "unrecognized option", argv);
        return OPTION_BAD;
    }
    if (id == ':') {
        report_bad_option(tool, verb, "missing argument for option", argv);
        return OPTION_BAD;
    }
    return check_choice(tool, verb, specs, id) ? id : OPTION_BAD;
}

static void print_spec(const struct option_spec *spec)
{
    char left[64];
    const char letter[] = { '-', (char)spec->id, '\0' };
    const bool has_letter = spec->id < OPTION_IMAGE_OPTS;

    snprintf(left, sizeof(left), "%s%s%s%s%s%s", has_letter ? letter : "",
             has_letter && spec->name != NULL ? ", " : "",
             spec->name != NULL ? "--" : "",
             spec->name != NULL ? spec->name : "",
             argument_kind(spec) == required_argument ? " " : "",
             spec->argument != NULL ? spec->argument : "");
    printf("  %-33s %s\n", left, spec->help);
}

void options_print(const struct option_spec *specs)
{
    const size_t count = count_specs(specs);

    for (size_t i = 0; i < count; i++)
        if (specs[i].help != NULL)
            print_spec(&specs[i]);
}

void image_options_init(struct image_options *options, const struct tool *tool)
{
    *options = (struct image_options){ .probe_backing = tool->as_qemu_img };
    secrets_init(&options->secrets);
}

void image_options_done(struct image_options *options)
{
    secrets_done(&options->secrets);
}

/* Prints what there is to say to "help" or "secret,help". */
static bool print_object_help(const char *argument)
{
    if (strcmp(argument, "help") == 0 || strcmp(argument, "?") == 0)
        printf("List of user creatable objects:\n"
               "  secret\n");
    else if (strcmp(argument, "secret,help") == 0 ||
             strcmp(argument, "secret,?") == 0)
        printf("secret options:\n"
               "  data=<string>\n"
               "  file=<string>\n"
               "  format=<string>        - raw (the default) or base64\n"
               "  id=<string>\n");
    else
        return false;
    return true;
}

static enum image_option take_object(struct image_options *options,
                                     const struct tool *tool,
                                     const char *argument)
{
    char message[SECRETS_MESSAGE_SIZE];

    if (print_object_help(argument))
        return IMAGE_OPTION_HELP;
    if (secrets_add(&options->secrets, argument, message))
        return IMAGE_OPTION_TAKEN;
    report(tool, "%s", message);
    return IMAGE_OPTION_BAD;
}

enum image_option image_options_take(struct image_options *options,
                                     const struct tool *tool, int id,
                                     const char *argument)
{
    switch (id) {
    case 'f':
        options->format = argument;
        break;
    case 'U':
        options->shared = true;
        break;
    case OPTION_IMAGE_OPTS:
        options->as_options = true;
        break;
    case OPTION_OBJECT:
        return take_object(options, tool, argument);
    case OPTION_PASSPHRASE_FILE:
        options->secrets.passphrase_file = argument;
        break;
    case OPTION_PROBE_BACKING:
        options->probe_backing = true;
        break;
    default:
        return IMAGE_OPTION_NONE;
    }
    return IMAGE_OPTION_TAKEN;
}

bool output_is_json(const struct tool *tool, const char *argument,
                    bool *ret_json)
{
    *ret_json = strcmp(argument, "json") == 0;
    if (*ret_json || strcmp(argument, "human") == 0)
        return true;
    report(tool, "--output must be used with human or json as argument.");
    return false;
}

bool job_options_take(struct job_options *options, int id)
{
    if (id == 'p') {
        options->progress = true;
        options->progress_json = optarg != NULL && strcmp(optarg, "json") == 0;
    }
    if (id == 'q')
        options->quiet = true;
    return id == 'p' || id == 'q';
}

bool cache_mode_parse(const char *text, uint32_t *ret_flags)
{
    static const struct {
        const char *name;
        uint32_t flags;
    } modes[] = {
        { "none", CACHE_DIRECT },       { "off", CACHE_DIRECT },
        { "directsync", CACHE_DIRECT }, { "writeback", 0 },
        { "writethrough", 0 },          { "unsafe", CACHE_NO_SYNC },
    };

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(text, modes[i].name) == 0) {
            *ret_flags = modes[i].flags;
            return true;
        }
    }
    return false;
}

bool written_cache_take(const struct tool *tool, const char *text,
                        uint32_t *ret_open_flags)
{
    uint32_t flags;

    if (!cache_mode_parse(text, &flags)) {
        report(tool, "Invalid cache option: %s", text);
        return false;
    }
    *ret_open_flags = (flags & CACHE_DIRECT ? BYRE_OPEN_DIRECT : 0) |
                      (flags & CACHE_NO_SYNC ? BYRE_OPEN_NO_SYNC : 0);
    return true;
}

bool source_cache_take(const struct tool *tool, const char *text)
{
    uint32_t flags;

    if (cache_mode_parse(text, &flags))
        return true;
    report(tool, "Invalid source cache option: %s", text);
    return false;
}
